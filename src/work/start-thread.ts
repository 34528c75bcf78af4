import { Worker } from "node:worker_threads";
import { DedupeError } from "../errors.ts";

/** The system has no further thread for this process or user. */
export class ThreadDenied extends DedupeError {
  constructor(cause: unknown) {
    super("EAGAIN", "the system gives this process no further thread", {
      hint: "See how many processes and how much memory it may have (ulimit -u, ulimit -v), or ask for fewer with -j.",
      cause,
    });
  }
}

/** A thread that begins to load the program at `url`. @throws ThreadDenied (pthread_create(3): EAGAIN) */
export function startThread(url: URL): Worker {
  try {
    return new Worker(url);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_WORKER_INIT_FAILED") throw new ThreadDenied(error);
    throw error;
  }
}
