import { parentPort } from "node:worker_threads";
import { SysError, errnoName } from "../sys/errors.ts";
import type { SysFactory } from "../sys/sys.ts";
import { RunFailure, Stopped } from "../work/errors.ts";
import { Counter } from "./counter.ts";
import { Finder } from "./finder.ts";
import type { FromStatsWorker, ToStatsWorker, WalkTask } from "./messages.ts";
import { StatsThread } from "./thread.ts";
import { StatsWalker } from "./walk.ts";

/** A worker thread of stats: takes tasks one at a time and does them with synchronous calls. */
const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");
const send = (message: FromStatsWorker): void => {
  port.postMessage(message);
};

type Parts = { thread: StatsThread; walker: StatsWalker; counter: Counter };
let parts: Parts | undefined;

function theParts(): Parts {
  if (parts === undefined) throw new Error("a task before the setup");
  return parts;
}

function work(task: WalkTask): void {
  const { thread, walker, counter } = theParts();
  try {
    const subdirectories = task.subdirectories?.map((name) => Buffer.from(name));
    const restored = { ...task, path: Buffer.from(task.path), subdirectories };
    thread.isSilent = task.type === "find";
    if (task.type === "find") walker.run(restored, new Finder(thread, task.wanted));
    else {
      counter.begin(task.unit);
      walker.run(restored, counter);
    }
    thread.flush();
    send({ type: "done" });
  } catch (error) {
    thread.flush();
    if (error instanceof Stopped) send({ type: "stopped" });
    else if (error instanceof RunFailure) send({ type: "fatal", code: error.code, message: error.message });
    else if (error instanceof SysError)
      send({ type: "fatal", code: errnoName(error.errno), message: error.message });
    else throw error;
  }
}

async function receive(message: ToStatsWorker): Promise<void> {
  switch (message.type) {
    case "setup": {
      const { openSys } = (await import(message.setup.sysModule)) as { openSys: SysFactory };
      const thread = new StatsThread(openSys(), message.setup, send);
      parts = { thread, walker: new StatsWalker(thread), counter: new Counter(thread) };
      send({ type: "ready" });
      return;
    }
    case "collect":
      send({ type: "collected", ...theParts().counter.finish() });
      return;
    case "close":
      port?.close();
      return;
    case "count":
    case "find":
      work(message);
  }
}

port.on("message", (message: ToStatsWorker) => {
  void receive(message);
});
