import { parentPort } from "node:worker_threads";
import type { SysFactory } from "../sys/sys.ts";
import { errnoName, SysError } from "../sys/errors.ts";
import { EntryFailure, RunFailure, Stopped } from "./errors.ts";
import type { FromWorker, Task, ToWorker, WorkerSetup } from "./messages.ts";
import { Thread } from "./thread.ts";
import { Walker } from "./walk.ts";

/** A worker thread: takes subtree tasks one at a time and does them with synchronous calls. */
const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");
const send = (message: FromWorker): void => {
  port.postMessage(message);
};

/** Started before the target is known, so that threads load while the main thread looks at the disks. */
let walker: Walker | undefined;
let thread: Thread | undefined;

async function setUp(setup: WorkerSetup): Promise<void> {
  const { openSys } = (await import(setup.sysModule)) as { openSys: SysFactory };
  thread = new Thread(openSys(), setup, send);
  walker = new Walker(thread);
  send({ type: "ready" });
}

function work(task: Task): void {
  if (thread === undefined || walker === undefined) throw new Error("a task before the setup");
  try {
    const outcome = walker.run({ ...task, path: Buffer.from(task.path) });
    thread.flush(task.unit);
    send({ type: "done", unit: task.unit, outcome, names: walker.names });
  } catch (error) {
    if (error instanceof EntryFailure) thread.counters.failures++;
    thread.flush(task.unit);
    if (error instanceof Stopped)
      send({ type: "done", unit: task.unit, outcome: "stopped", names: walker.names });
    else if (error instanceof EntryFailure) giveUp(task, error);
    else send(fatal(error));
  }
}

/**
 * The task's own directory cannot be entered, or not be left as it should: what is below it is listed with it, and what
 * an earlier run left there is not compared.
 */
function giveUp({ unit, path, mode }: Task, { code, message }: EntryFailure): void {
  send({ type: "failures", unit, failures: [{ path, code, message }] });
  const outcome = mode === "refill" ? "withheld" : "done";
  send({ type: "done", unit, outcome, names: walker?.names ?? 0 });
}

function fatal(error: unknown): FromWorker {
  if (error instanceof RunFailure) return { type: "fatal", code: error.code, message: error.message };
  if (error instanceof SysError)
    return { type: "fatal", code: errnoName(error.errno), message: error.message };
  throw error;
}

async function receive(message: ToWorker): Promise<void> {
  switch (message.type) {
    case "setup":
      await setUp(message.setup);
      return;
    case "task":
      work(message);
      return;
    case "close":
      await thread?.session.close();
      port?.close();
      return;
  }
}

port.on("message", (message: ToWorker) => {
  void receive(message);
});
