import PQueue from "p-queue";
import { Worker } from "node:worker_threads";
import { Control } from "../work/control.ts";
import { RunFailure } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import { entryPoint } from "../entry-points.ts";
import type { FromRelinkWorker, RelinkSetup, RelinkTask, ToRelinkWorker } from "./messages.ts";
import type { Run } from "./sorter.ts";
import { SharedTally } from "./tally.ts";

type Seat = {
  worker: Worker;
  answer: ((message: FromRelinkWorker<unknown>) => void) | undefined;
  ended: Promise<unknown>;
};

const CLOSE_MOST_MS = 5000;

/** What threads tell meanwhile; called on the main thread. */
export type RelinkListener<Told> = {
  failures(failures: Failure[]): void;
  met?(path: Buffer, inode: string): void;
  told?(told: Told): void;
};

/** The threads' program: that of a relink, or one that does further tasks. */
const RELINK_WORKER = entryPoint("relink-worker");

/** Worker threads of a relink. p-queue holds the tasks and runs as many as there are threads. */
export class RelinkPool<Task extends { type: string } = never, Told = never> {
  readonly control: Control;
  readonly tally: SharedTally;
  readonly #seats: Seat[];
  readonly #idle: Seat[];
  readonly #queue: PQueue;
  readonly #listener: RelinkListener<Told>;
  #failure: Error | undefined;

  /** Threads that load their program while the main thread opens the target; to be terminated if that fails. */
  static boot(jobs: number, program: URL = RELINK_WORKER): Worker[] {
    return Array.from({ length: jobs }, () => new Worker(program));
  }

  static async start<Task extends { type: string } = never, Told = never>(
    jobs: number,
    setup: Omit<RelinkSetup, "worker" | "control" | "tally">,
    listener: RelinkListener<Told> & { workers?: readonly Worker[] },
  ): Promise<RelinkPool<Task, Told>> {
    const control = Control.allocate();
    const tally = SharedTally.allocate(jobs);
    const workers = listener.workers ?? RelinkPool.boot(jobs);
    const seats = await Promise.all(
      workers.map(async (thread, worker) => {
        const ended = new Promise((resolve) => thread.once("exit", resolve));
        const seat: Seat = { worker: thread, answer: undefined, ended };
        await new Promise<void>((resolve, reject) => {
          thread.once("message", () => {
            resolve();
          });
          thread.once("error", reject);
          const whole = { ...setup, worker, control, tally };
          thread.postMessage({ type: "setup", setup: whole } satisfies ToRelinkWorker);
        });
        return seat;
      }),
    );
    return new RelinkPool<Task, Told>(seats, { control, tally, listener });
  }

  private constructor(
    seats: Seat[],
    parts: {
      control: SharedArrayBuffer;
      tally: SharedArrayBuffer;
      listener: RelinkListener<Told>;
    },
  ) {
    this.#seats = seats;
    this.#idle = [...seats];
    this.control = new Control(parts.control);
    this.tally = new SharedTally(parts.tally);
    this.#listener = parts.listener;
    this.#queue = new PQueue({ concurrency: seats.length });
    for (const seat of seats) this.#listen(seat);
  }

  get jobs(): number {
    return this.#seats.length;
  }

  #listen(seat: Seat): void {
    seat.worker.on("message", (message: FromRelinkWorker<Told>) => {
      switch (message.type) {
        case "given":
          this.#add(message.task);
          return;
        case "failures":
          // A Buffer that crossed threads is a Uint8Array.
          this.#listener.failures(
            message.failures.map((each) => ({ ...each, path: Buffer.from(each.path) })),
          );
          return;
        case "met":
          this.#listener.met?.(Buffer.from(message.path), message.inode);
          return;
        case "told":
          this.#listener.told?.(message.told);
          return;
        case "ready":
        case "collected":
        case "done":
        case "stopped":
        case "fatal":
          seat.answer?.(message);
      }
    });
    seat.worker.on("error", (error: Error) => {
      this.#fail(error);
      seat.answer?.({ type: "stopped" });
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.control.stop();
  }

  /**
   * Does the tasks, and those that threads give away meanwhile. @returns false: cut short by a stop.
   * @throws what made a thread give up: RunFailure, or a bug
   */
  async run(tasks: Iterable<RelinkTask | Task>): Promise<boolean> {
    for (const task of tasks) {
      if (this.control.isStopped) break;
      await this.#queue.onSizeLessThan(this.#seats.length * 2);
      this.#add(task);
    }
    await this.#queue.onIdle();
    if (this.#failure !== undefined) throw this.#failure;
    return !this.control.isStopped;
  }

  #add(task: RelinkTask | Task): void {
    void this.#queue.add(() => this.#work(task));
    this.#updateWishes();
  }

  #updateWishes(): void {
    this.control.setWanted(Math.max(0, this.#seats.length - this.#queue.pending - this.#queue.size));
  }

  async #work(task: RelinkTask | Task): Promise<void> {
    const seat = this.#idle.pop();
    if (seat === undefined) throw new Error("a task without a thread");
    this.#updateWishes();
    if (!this.control.isStopped) {
      const message = await this.#ask(seat, { type: "task", task });
      if (message.type === "fatal") this.#fail(new RunFailure(message.code, message.message));
    }
    this.#idle.push(seat);
    setImmediate(() => {
      this.#updateWishes();
    });
  }

  async #ask(seat: Seat, message: ToRelinkWorker<RelinkTask | Task>): Promise<FromRelinkWorker<unknown>> {
    const answer = await new Promise<FromRelinkWorker<unknown>>((resolve) => {
      seat.answer = resolve;
      seat.worker.postMessage(message);
    });
    seat.answer = undefined;
    return answer;
  }

  /** Something for every thread, none of which has a task. */
  async tellAll(message: ToRelinkWorker): Promise<void> {
    await Promise.all(this.#seats.map((seat) => this.#ask(seat, message)));
  }

  /** What all threads have sorted since the last call. */
  async collect(): Promise<Run[]> {
    const answers = await Promise.all(this.#seats.map((seat) => this.#ask(seat, { type: "collect" })));
    return answers.flatMap((answer) => (answer.type === "collected" ? answer.runs : []));
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#seats.map(async ({ worker, ended }) => {
        worker.postMessage({ type: "close" } satisfies ToRelinkWorker);
        const timer = setTimeout(() => void worker.terminate(), CLOSE_MOST_MS);
        await ended;
        clearTimeout(timer);
      }),
    );
  }
}
