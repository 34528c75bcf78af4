import type { Worker } from "node:worker_threads";
import type { Counters } from "../report/events.ts";
import { entryPoint, startThreads } from "../entry-points.ts";
import { Control, SharedCounters } from "./control.ts";
import { RunFailure, thrownByThread } from "./errors.ts";
import type { MigrationListener } from "./migration.ts";
import type { EntryAction, WorkerSetup } from "./messages.ts";
import type { FromSurvey, SurveySetup } from "./survey-messages.ts";
import type { NeedCounts } from "./survey-needs.ts";

export type { SurveySetup } from "./survey-messages.ts";
export type { NeedCounts } from "./survey-needs.ts";

export type SurveyResult = { type: "finished"; needs: NeedCounts; held: number } | { type: "stopped" };

export type SurveyListenerOnMain = MigrationListener & {
  entries(entries: { path: Buffer; action: EntryAction }[]): void;
  /** Nothing is opened by its path any more. */
  opened(): void;
};

type Shared = { control: SharedArrayBuffer; counters: SharedArrayBuffer };

/** A survey of what a migration would do, on a thread of its own. */
export class Survey {
  readonly #control: Control;
  readonly #counters: SharedCounters;
  readonly #shared: Shared;

  constructor() {
    this.#shared = { control: Control.allocate(), counters: SharedCounters.allocate(1) };
    this.#control = new Control(this.#shared.control);
    this.#counters = new SharedCounters(this.#shared.counters);
  }

  counters(): Counters {
    return this.#counters.sum();
  }

  stop(): void {
    this.#control.stop();
  }

  /** @throws RunFailure when the source or the target fails as a whole */
  run(
    setup: Omit<SurveySetup, "thread"> & { thread: Omit<WorkerSetup, keyof Shared | "worker"> },
    listener: SurveyListenerOnMain,
  ): Promise<SurveyResult> {
    const thread: WorkerSetup = { ...setup.thread, ...this.#shared, worker: 0 };
    const [worker] = startThreads(entryPoint("survey-worker"), 1) as [Worker];
    return new Promise((resolve, reject) => {
      let result: SurveyResult | Error | undefined;
      worker.on("message", (message: FromSurvey) => {
        result ??= resultOf(message);
        pass(message, listener);
      });
      worker.on("error", (error: Error) => {
        reject(thrownByThread(error));
      });
      worker.on("exit", () => {
        if (result !== undefined && !(result instanceof Error)) resolve(result);
        else reject(result ?? new Error("the survey ended without a result"));
      });
      worker.postMessage({ ...setup, thread });
    });
  }
}

function resultOf(message: FromSurvey): SurveyResult | Error | undefined {
  if (message.type === "ended") return { type: "finished", needs: message.needs, held: message.held };
  if (message.type === "stopped") return { type: "stopped" };
  if (message.type === "fatal") return new RunFailure(message.code, message.message);
  return undefined;
}

function pass(message: FromSurvey, listener: SurveyListenerOnMain): void {
  const withBuffer = <T extends { path: Buffer }>(each: T): T => ({ ...each, path: Buffer.from(each.path) });
  if (message.type === "opened") listener.opened();
  else if (message.type === "begun") listener.begun(message.unit);
  else if (message.type === "unit") listener.unit(message.report);
  else if (message.type === "failures") listener.failures(message.failures.map(withBuffer));
  else if (message.type === "entries") listener.entries(message.entries.map(withBuffer));
}
