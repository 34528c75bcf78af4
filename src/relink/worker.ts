import { parentPort } from "node:worker_threads";
import type { SysFactory } from "../sys/sys.ts";
import { errnoName, SysError } from "../sys/errors.ts";
import { EntryFailure, RunFailure, Stopped } from "../work/errors.ts";
import { Adopter } from "./adopt.ts";
import { BatchView } from "./batch-memory.ts";
import { BatchWorker } from "./batch-worker.ts";
import { comparedWords } from "./layout.ts";
import { readKey } from "./classes.ts";
import type { FromRelinkWorker, RelinkTask, ToRelinkWorker } from "./messages.ts";
import { ContentReader } from "./read-content.ts";
import { RelinkThread } from "./relink-thread.ts";
import type { Run } from "./sorter.ts";
import { StockTaker } from "./take-stock.ts";

/** A worker thread of a relink: takes tasks one at a time and does them with synchronous calls. */
const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");
const send = (message: FromRelinkWorker): void => {
  port.postMessage(message);
};

let thread: RelinkThread | undefined;
let taker: StockTaker | undefined;
let reader: ContentReader | undefined;
let adopter: Adopter | undefined;
let batchWorker: BatchWorker | undefined;

function theThread(): RelinkThread {
  if (thread === undefined) throw new Error("a task before the setup");
  return thread;
}

function run(task: RelinkTask): void {
  const at = theThread();
  switch (task.type) {
    case "walk":
      taker ??= new StockTaker(at);
      taker.run({
        ...task,
        path: Buffer.from(task.path),
        subdirectories: task.subdirectories?.map((name) => Buffer.from(name)),
      });
      return;
    case "read":
      reader ??= new ContentReader(at, task.placesFd, readKey(comparedWords(at.rules.compared)));
      reader.run(task);
      return;
    case "adopt":
      adopter ??= new Adopter(at);
      adopter.run(new BatchView(task.batch), task.first, task.count);
      return;
    case "prepare":
    case "replace":
      batchWorker ??= new BatchWorker(at, task.store);
      batchWorker[task.type](new BatchView(task.batch), task);
      return;
  }
}

function work(task: RelinkTask): void {
  try {
    run(task);
    thread?.session?.flushRecords();
    thread?.flush();
    send({ type: "done" });
  } catch (error) {
    thread?.flush();
    if (error instanceof Stopped) send({ type: "stopped" });
    else send(fatal(error));
  }
}

function fatal(error: unknown): FromRelinkWorker {
  if (error instanceof RunFailure || error instanceof EntryFailure)
    return { type: "fatal", code: error.code, message: error.message };
  if (error instanceof SysError)
    return { type: "fatal", code: errnoName(error.errno), message: error.message };
  throw error;
}

/** What this thread has sorted in the phase that ends. */
function collect(): Run[] {
  const runs = reader?.finish() ?? taker?.finish() ?? [];
  reader = undefined;
  taker = undefined;
  return runs;
}

async function receive(message: ToRelinkWorker): Promise<void> {
  switch (message.type) {
    case "setup": {
      const { openSys } = (await import(message.setup.sysModule)) as { openSys: SysFactory };
      thread = new RelinkThread(openSys(), message.setup, send);
      send({ type: "ready" });
      return;
    }
    case "store":
      theThread().join(message.store);
      send({ type: "ready" });
      return;
    case "collect":
      send({ type: "collected", runs: collect() });
      return;
    case "close":
      await thread?.close();
      port?.close();
      return;
    case "walk":
    case "read":
    case "adopt":
    case "prepare":
    case "replace":
      work(message);
  }
}

port.on("message", (message: ToRelinkWorker) => {
  void receive(message);
});
