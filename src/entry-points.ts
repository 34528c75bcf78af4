/** Where the program's parts lie that are loaded by URL: worker threads and the door to the kernel. */
import { Worker } from "node:worker_threads";
import { DedupeError } from "./errors.ts";

/** As rolldown.config.js names them. */
export type EntryPoint =
  | "migrate-worker"
  | "survey-worker"
  | "relink-worker"
  | "compact-worker"
  | "verify-worker"
  | "stats-worker"
  | "linux";

/** The build puts every entry point, and the chunks of the command line, side by side into dist/. */
export function entryPoint(name: EntryPoint): URL {
  return new URL(`./${name}.js`, import.meta.url);
}

/** Threads that begin to load the program at `url`. @throws DedupeError where the system denies one (pthread_create(3)) */
export function startThreads(url: URL, count: number): Worker[] {
  const threads: Worker[] = [];
  try {
    while (threads.length < count) threads.push(new Worker(url));
    return threads;
  } catch (error) {
    dismissThreads(threads);
    if ((error as NodeJS.ErrnoException).code !== "ERR_WORKER_INIT_FAILED") throw error;
    throw new DedupeError("EAGAIN", "the system gives this process no further thread", {
      hint: "See how many processes and how much memory it may have (ulimit -u, ulimit -v), or ask for fewer with -j.",
      cause: error,
    });
  }
}

/**
 * Threads that nothing was asked of end once they are loaded. Not Worker.terminate(): a native module that is cut short
 * while it loads aborts the whole process.
 */
export function dismissThreads(threads: readonly Worker[]): void {
  for (const thread of threads) thread.postMessage({ type: "close" });
}
