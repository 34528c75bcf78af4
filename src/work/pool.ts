import PQueue from "p-queue";
import { setTimeout as delay } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { Control, SharedCounters } from "./control.ts";
import { RunFailure, thrownByThread } from "./errors.ts";
import type {
  EntryAction,
  Failure,
  FromWorker,
  LateMode,
  Task,
  TaskOutcome,
  ToWorker,
  WorkerSetup,
} from "./messages.ts";
import { entryPoint, startThreads } from "../entry-points.ts";

/** What a pool tells its owner; called on the main thread. */
export type PoolListener = {
  entries(entries: { path: Buffer; action: EntryAction }[]): void;
  failures(unit: number, failures: Failure[]): void;
  lateModes(unit: number, modes: LateMode[]): void;
  /** All tasks of the unit are through; the outcome is the worst of theirs. */
  unitDone(unit: number, outcome: TaskOutcome, names: number): void;
};

/** How often an idle thread is looked at, and how long one may stay idle: a large file may keep the others busy. */
const HUNGRY_MS = 1;
const PATIENCE_MS = 20;
/** A unit in which at most one name in so many was a new inode is nearly all links, and so will the next one be. */
const QUIET_SHARE = 4;

type Seat = {
  worker: Worker;
  finish: ((message: FromWorker) => void) | undefined;
  /** Resolves when the thread is gone, whatever ended it. */
  ended: Promise<unknown>;
};

/**
 * Worker threads doing subtree tasks. p-queue holds the tasks and runs as many as there are threads; a thread gives
 * away part of its task only while others are idle, so that what is pending stays below jobs x depth.
 */
export class Pool {
  readonly control: Control;
  readonly counters: SharedCounters;
  readonly #queue: PQueue;
  readonly #seats: Seat[];
  readonly #idle: Seat[];
  readonly #listener: PoolListener;
  readonly #open = new Map<number, { tasks: number; outcome: TaskOutcome; names: number }>();
  #failure: Error | undefined;
  /** The unit done last brought few new inodes. */
  #isQuiet = false;
  #ingestsAtDone = 0;
  readonly #freed: (() => void)[] = [];

  /** Begins to load worker threads; `start` needs them. `dismissThreads` ends them if the run fails before. */
  static boot(jobs: number): Worker[] {
    return startThreads(entryPoint("migrate-worker"), jobs);
  }

  static async start(
    workers: Worker[],
    setup: Omit<WorkerSetup, "worker" | "control" | "counters">,
    listener: PoolListener,
  ): Promise<Pool> {
    const control = Control.allocate();
    const counters = SharedCounters.allocate(workers.length);
    const seats = await Promise.all(
      workers.map((thread, worker) => setUpWorker(thread, { ...setup, worker, control, counters })),
    );
    return new Pool(seats, new Control(control), new SharedCounters(counters), listener);
  }

  private constructor(seats: Seat[], control: Control, counters: SharedCounters, listener: PoolListener) {
    this.#seats = seats;
    this.#idle = [...seats];
    this.control = control;
    this.counters = counters;
    this.#listener = listener;
    this.#queue = new PQueue({ concurrency: seats.length });
    for (const seat of seats) this.#listen(seat);
  }

  #listen(seat: Seat): void {
    seat.worker.on("message", (message: FromWorker) => {
      this.#receive(seat, message);
    });
    seat.worker.on("error", (error: Error) => {
      this.#fail(thrownByThread(error));
      seat.finish?.({ type: "done", unit: -1, outcome: "stopped", names: 0 });
    });
  }

  #receive(seat: Seat, message: FromWorker): void {
    switch (message.type) {
      case "entries":
        this.#listener.entries(
          message.entries.map(({ path, action }) => ({ path: Buffer.from(path), action })),
        );
        return;
      case "failures":
        this.#listener.failures(
          message.unit,
          message.failures.map((failure) => ({ ...failure, path: Buffer.from(failure.path) })),
        );
        return;
      case "late-modes":
        this.#listener.lateModes(
          message.unit,
          message.modes.map((late) => ({ ...late, path: Buffer.from(late.path) })),
        );
        return;
      case "given":
        this.add(message.task);
        return;
      case "fatal":
        this.#fail(new RunFailure(message.code, message.message));
        seat.finish?.(message);
        return;
      case "done":
        seat.finish?.(message);
        return;
      case "ready":
        return;
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.control.stop();
  }

  /** Queues a task; the unit is done when all of its tasks are. */
  add(task: Task): void {
    const unit = this.#open.get(task.unit) ?? { tasks: 0, outcome: "done", names: 0 };
    unit.tasks++;
    this.#open.set(task.unit, unit);
    void this.#queue.add(() => this.#run(task));
    this.#updateWishes();
  }

  /** As many subdirectories are wished for as threads have nothing to do. */
  #updateWishes(): void {
    this.control.setWanted(Math.max(0, this.#seats.length - this.#queue.pending - this.#queue.size));
  }

  async #run(task: Task): Promise<void> {
    const seat = this.#idle.pop();
    if (seat === undefined) throw new Error("a task without a thread");
    this.#updateWishes();
    const message = await new Promise<FromWorker>((resolve) => {
      seat.finish = resolve;
      if (this.#failure === undefined) seat.worker.postMessage(task satisfies ToWorker);
      else resolve({ type: "done", unit: task.unit, outcome: "stopped", names: 0 });
    });
    seat.finish = undefined;
    this.#idle.push(seat);
    if (message.type === "done") this.#settle(task.unit, message.outcome, message.names);
    else this.#settle(task.unit, "stopped", 0);
    setImmediate(() => {
      this.#updateWishes();
      for (const wake of this.#freed.splice(0)) wake();
    });
  }

  #settle(number: number, outcome: TaskOutcome, names: number): void {
    const unit = this.#open.get(number);
    if (unit === undefined) return;
    unit.tasks--;
    unit.names += names;
    if (unit.outcome === "done" || outcome === "stopped") unit.outcome = outcome;
    if (unit.tasks > 0) return;
    this.#open.delete(number);
    this.#isQuiet = (this.control.ingests - this.#ingestsAtDone) * QUIET_SHARE <= unit.names;
    this.#ingestsAtDone = this.control.ingests;
    this.#listener.unitDone(number, unit.outcome, unit.names);
  }

  /**
   * Resolves when it is time for the next unit: when a thread has nothing to do, and no other has anything to give
   * away. While new inodes are being read the threads had better share a unit: in two units that are much alike they
   * would meet the same inodes and wait for each other. Where the other threads only link, nothing is lost by that.
   */
  async hungry(): Promise<void> {
    if (this.#queue.pending === 0) return;
    if (this.#isQuiet) {
      // One unit waits, so that no thread ever does.
      await this.#queue.onSizeLessThan(1);
      return;
    }
    for (let waitedMs = 0, before = this.#activity(); !this.hasFailed && !this.control.isStopped;) {
      if (!this.#hasIdleThread()) {
        await new Promise<void>((resolve) => this.#freed.push(resolve));
        waitedMs = 0;
        before = this.#activity();
        continue;
      }
      await delay(HUNGRY_MS);
      waitedMs += HUNGRY_MS;
      const now = this.#activity();
      const onlyLinks = now.ingests === before.ingests && now.linkedNames > before.linkedNames;
      if (this.#hasIdleThread() && (onlyLinks || waitedMs >= PATIENCE_MS)) return;
      if (now.ingests !== before.ingests) before = now;
    }
  }

  #activity(): { ingests: number; linkedNames: number } {
    return { ingests: this.control.ingests, linkedNames: this.counters.sum().linkedNames };
  }

  #hasIdleThread(): boolean {
    return this.#queue.size === 0 && this.#queue.pending < this.#seats.length;
  }

  async idle(): Promise<void> {
    await this.#queue.onIdle();
  }

  /** @throws what made a thread give up: RunFailure, or a bug. */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** After a failure of the target as a whole nothing more can be made durable; after one of the source it can. */
  get hasBrokenTarget(): boolean {
    const failure = this.#failure;
    if (failure === undefined) return false;
    return !(failure instanceof RunFailure) || failure.message.startsWith("the target");
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  async close(): Promise<void> {
    await this.#queue.onIdle();
    await Promise.all(
      this.#seats.map(async ({ worker, ended }) => {
        worker.postMessage({ type: "close" } satisfies ToWorker);
        const timer = setTimeout(() => void worker.terminate(), 5000);
        await ended;
        clearTimeout(timer);
      }),
    );
  }
}

async function setUpWorker(worker: Worker, setup: WorkerSetup): Promise<Seat> {
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => {
      resolve();
    });
    worker.once("error", (error: Error) => {
      reject(thrownByThread(error));
    });
    worker.postMessage({ type: "setup", setup } satisfies ToWorker);
  });
  return { worker, finish: undefined, ended };
}
