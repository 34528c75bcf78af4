import { parentPort } from "node:worker_threads";
import { SysError } from "../sys/errors.ts";
import type { SysFactory } from "../sys/sys.ts";
import type { FromWorker, Task, TaskResult, ToWorker, WorkerSetup } from "./messages.ts";
import { StoreWalker } from "./store-walk.ts";
import { Stopped, Thread, TreeFailure } from "./thread.ts";
import { TreeWalker } from "./walk.ts";

/** A worker thread: takes tasks one at a time and does them with synchronous calls. */
const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");
const send = (message: FromWorker): void => {
  port.postMessage(message);
};

let thread: Thread | undefined;
let trees: TreeWalker | undefined;
let store: StoreWalker | undefined;

async function setUp(setup: WorkerSetup): Promise<void> {
  const { openSys } = (await import(setup.sysModule)) as { openSys: SysFactory };
  thread = new Thread(openSys(), setup, send);
  if (setup.trees !== undefined) trees = new TreeWalker(thread, setup.trees);
  if (setup.store !== undefined) store = new StoreWalker(thread, setup.store);
  send({ type: "ready" });
}

function work(task: Task): void {
  try {
    const result = perform(task);
    thread?.flush();
    send({ type: "done", result });
  } catch (error) {
    thread?.flush();
    if (error instanceof Stopped) send({ type: "stopped" });
    else if (error instanceof TreeFailure || error instanceof SysError)
      send({ type: "fatal", code: error.code, message: error.message });
    else throw error;
  }
}

function perform(task: Task): TaskResult {
  switch (task.type) {
    case "walk":
      return there(trees).run(task.path, task.depth);
    case "objects":
      return { type: "inodes", inodes: there(store).objects(task.directory) };
    case "groups":
      return { type: "inodes", inodes: there(store).groups(task.directory) };
    case "known":
      there(store).learn(task.inodes, task.suspects);
      return { type: "ready" };
    case "names":
      return { type: "names", left: there(store).names(task.path, task.depth) };
  }
}

function there<T>(walker: T | undefined): T {
  if (walker === undefined) throw new Error("a task before its setup");
  return walker;
}

async function receive(message: ToWorker): Promise<void> {
  switch (message.type) {
    case "setup":
      await setUp(message.setup);
      return;
    case "task":
      work(message.task);
      return;
    case "close":
      port?.close();
      return;
  }
}

port.on("message", (message: ToWorker) => {
  void receive(message);
});
