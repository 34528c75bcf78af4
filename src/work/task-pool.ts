import PQueue from "p-queue";
import type { Worker } from "node:worker_threads";
import { Control } from "./control.ts";
import { RunFailure, thrownByThread } from "./errors.ts";
import type { Failure } from "./messages.ts";
import { startThreads } from "../entry-points.ts";

/** What every thread of a pool may say; `given` is work that it hands over to an idle one. */
export type FromThread<Task> =
  | { type: "ready" }
  | { type: "given"; task: Task }
  | { type: "failures"; failures: Failure[] }
  | { type: "done" }
  | { type: "stopped" }
  | { type: "fatal"; code: string; message: string };

/** A thread that was set up. */
export type Seat<From> = {
  worker: Worker;
  answer: ((message: From) => void) | undefined;
  ended: Promise<unknown>;
};

export type PoolListener<From> = {
  failures(failures: Failure[]): void;
  /** What is no answer, and none of the messages above: true where it was dealt with. */
  told?(message: From): boolean;
};

const CLOSE_MOST_MS = 5000;

type Parts<To, From, Task> = {
  control: SharedArrayBuffer;
  listener: PoolListener<From>;
  /** What a thread is told to do a task. */
  messageOf: (task: Task) => To;
};

/**
 * Worker threads that answer each message with one other. p-queue holds the tasks and runs as many as there are
 * threads.
 */
export class TaskPool<To extends object, From extends { type: string }, Task = To> {
  readonly control: Control;
  readonly #seats: Seat<From | FromThread<Task>>[];
  readonly #idle: Seat<From | FromThread<Task>>[];
  readonly #queue: PQueue;
  readonly #parts: Parts<To, From, Task>;
  #failure: Error | undefined;

  /** Threads that begin to load the program at `url`. */
  protected static threads(url: URL, jobs: number): Worker[] {
    return startThreads(url, jobs);
  }

  /** Tells each thread `setupOf` first, and waits for its answer. */
  protected static async seats<From>(
    workers: readonly Worker[],
    setupOf: (worker: number) => object,
  ): Promise<Seat<From>[]> {
    return Promise.all(
      workers.map(async (worker, number) => {
        const ended = new Promise((resolve) => worker.once("exit", resolve));
        await new Promise<void>((resolve, reject) => {
          worker.once("message", () => {
            resolve();
          });
          worker.once("error", (error: Error) => {
            reject(thrownByThread(error));
          });
          worker.postMessage(setupOf(number));
        });
        return { worker, answer: undefined, ended };
      }),
    );
  }

  protected constructor(seats: Seat<From | FromThread<Task>>[], parts: Parts<To, From, Task>) {
    this.#seats = seats;
    this.#idle = [...seats];
    this.#parts = parts;
    this.control = new Control(parts.control);
    this.#queue = new PQueue({ concurrency: seats.length });
    for (const seat of seats) this.#listen(seat);
  }

  get jobs(): number {
    return this.#seats.length;
  }

  #listen(seat: Seat<From | FromThread<Task>>): void {
    seat.worker.on("message", (message: From | FromThread<Task>) => {
      this.#receive(seat, message);
    });
    seat.worker.on("error", (error: Error) => {
      this.#fail(thrownByThread(error));
      seat.answer?.({ type: "stopped" });
    });
  }

  #receive(seat: Seat<From | FromThread<Task>>, message: From | FromThread<Task>): void {
    const general = message as FromThread<Task>;
    if (general.type === "given") this.#add(general.task);
    else if (general.type === "failures")
      // A Buffer that crossed threads is a Uint8Array.
      this.#parts.listener.failures(
        general.failures.map((failure) => ({ ...failure, path: Buffer.from(failure.path) })),
      );
    else if (this.#parts.listener.told?.(message as From) !== true) seat.answer?.(message);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.control.stop();
  }

  /**
   * Does the tasks, and those that threads give away meanwhile. @returns false: cut short by a stop.
   * @throws what made a thread give up: RunFailure, or a bug
   */
  async run(tasks: Iterable<Task>): Promise<boolean> {
    for (const task of tasks) {
      if (this.control.isStopped) break;
      await this.#queue.onSizeLessThan(this.#seats.length * 2);
      this.#add(task);
    }
    await this.#queue.onIdle();
    if (this.#failure !== undefined) throw this.#failure;
    return !this.control.isStopped;
  }

  #add(task: Task): void {
    void this.#queue.add(() => this.#work(task));
    this.#updateWishes();
  }

  #updateWishes(): void {
    this.control.setWanted(Math.max(0, this.#seats.length - this.#queue.pending - this.#queue.size));
  }

  async #work(task: Task): Promise<void> {
    const seat = this.#idle.pop();
    if (seat === undefined) throw new Error("a task without a thread");
    this.#updateWishes();
    if (!this.control.isStopped) {
      const message = (await this.#ask(seat, this.#parts.messageOf(task))) as FromThread<Task>;
      if (message.type === "fatal") this.#fail(new RunFailure(message.code, message.message));
    }
    this.#idle.push(seat);
    setImmediate(() => {
      this.#updateWishes();
    });
  }

  async #ask(seat: Seat<From | FromThread<Task>>, message: To): Promise<From | FromThread<Task>> {
    const answer = await new Promise<From | FromThread<Task>>((resolve) => {
      seat.answer = resolve;
      seat.worker.postMessage(message);
    });
    seat.answer = undefined;
    return answer;
  }

  /** Something for every thread, none of which has a task. @returns what they answer */
  async tellAll(message: To): Promise<(From | FromThread<Task>)[]> {
    return Promise.all(this.#seats.map((seat) => this.#ask(seat, message)));
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#seats.map(async ({ worker, ended }) => {
        worker.postMessage({ type: "close" });
        const timer = setTimeout(() => void worker.terminate(), CLOSE_MOST_MS);
        await ended;
        clearTimeout(timer);
      }),
    );
  }
}
