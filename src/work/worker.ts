import { parentPort, workerData } from "node:worker_threads";
import type { SysFactory } from "../sys/sys.ts";
import { errnoName, SysError } from "../sys/errors.ts";
import { RunFailure, Stopped } from "./errors.ts";
import type { FromWorker, Task, ToWorker, WorkerSetup } from "./messages.ts";
import { Thread } from "./thread.ts";
import { Walker } from "./walk.ts";

/** A worker thread: takes subtree tasks one at a time and does them with synchronous calls. */
const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");
const setup = workerData as WorkerSetup;
const send = (message: FromWorker): void => {
  port.postMessage(message);
};

const { openSys } = (await import(setup.sysModule)) as { openSys: SysFactory };
const thread = new Thread(openSys(), setup, send);
const walker = new Walker(thread);

function work(task: Task): void {
  try {
    walker.run({ ...task, path: Buffer.from(task.path) });
    thread.flush(task.unit);
    send({ type: "done", unit: task.unit, outcome: "done", names: walker.names });
  } catch (error) {
    thread.flush(task.unit);
    if (error instanceof Stopped) send({ type: "done", unit: task.unit, outcome: "stopped", names: walker.names });
    else send(fatal(error));
  }
}

function fatal(error: unknown): FromWorker {
  if (error instanceof RunFailure) return { type: "fatal", code: error.code, message: error.message };
  if (error instanceof SysError) return { type: "fatal", code: errnoName(error.errno), message: error.message };
  throw error;
}

port.on("message", (message: ToWorker) => {
  if (message.type === "task") {
    work(message);
    return;
  }
  void thread.session.close().then(() => {
    port.close();
  });
});
send({ type: "ready" });
