import { parentPort } from "node:worker_threads";
import type { SysFactory } from "../sys/sys.ts";
import { errnoName, SysError } from "../sys/errors.ts";
import { EntryFailure, RunFailure, Stopped } from "../work/errors.ts";
import type { FromRelinkWorker, ToRelinkWorker } from "./messages.ts";
import { RelinkThread } from "./relink-thread.ts";
import type { Run } from "./sorter.ts";

/** What a thread can do, one task at a time, with synchronous calls. */
export type TaskRunner<Task> = {
  /** @throws RunFailure, Stopped */
  run(task: Task): void;
  /** What this thread has sorted in the phase that ends. */
  collect(): Run[];
};

/** The life of a worker thread: its setup, then tasks, then its end. */
export function serveTasks<Task>(make: (thread: RelinkThread) => TaskRunner<Task>): void {
  if (parentPort === null) throw new Error("this runs in a worker thread only");
  const port = parentPort;
  const send = (message: FromRelinkWorker<unknown>): void => {
    port.postMessage(message);
  };
  let served: { thread: RelinkThread; runner: TaskRunner<Task> } | undefined;
  const current = () => {
    if (served === undefined) throw new Error("a task before the setup");
    return served;
  };
  port.on("message", (message: ToRelinkWorker<Task>) => {
    switch (message.type) {
      case "setup":
        void openThread(message.setup, send).then((thread) => {
          served = { thread, runner: make(thread) };
          send({ type: "ready" });
        });
        return;
      case "store":
        current().thread.join(message.store);
        send({ type: "ready" });
        return;
      case "choice":
        current().thread.choose(message.choice);
        send({ type: "ready" });
        return;
      case "collect":
        send({ type: "collected", runs: current().runner.collect() });
        return;
      case "close":
        void (served?.thread.close() ?? Promise.resolve()).then(() => {
          port.close();
        });
        return;
      case "task":
        send(work(current(), message.task));
    }
  });
}

async function openThread(
  setup: Extract<ToRelinkWorker, { type: "setup" }>["setup"],
  send: (message: FromRelinkWorker<unknown>) => void,
): Promise<RelinkThread> {
  const { openSys } = (await import(setup.sysModule)) as { openSys: SysFactory };
  return new RelinkThread(openSys(), setup, send);
}

function work<Task>(
  { thread, runner }: { thread: RelinkThread; runner: TaskRunner<Task> },
  task: Task,
): FromRelinkWorker {
  try {
    runner.run(task);
    thread.session?.flushRecords();
    thread.flush();
    return { type: "done" };
  } catch (error) {
    thread.flush();
    return error instanceof Stopped ? { type: "stopped" } : fatal(error);
  }
}

function fatal(error: unknown): FromRelinkWorker {
  if (error instanceof RunFailure || error instanceof EntryFailure)
    return { type: "fatal", code: error.code, message: error.message };
  if (error instanceof SysError)
    return { type: "fatal", code: errnoName(error.errno), message: error.message };
  throw error;
}
