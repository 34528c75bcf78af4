import type { Worker } from "node:worker_threads";
import { Control, SharedTallies, type Tally } from "./control.ts";
import type {
  Affected,
  Failure,
  Finding,
  FromWorker,
  Looked,
  Task,
  TaskResult,
  ToWorker,
  WorkerSetup,
} from "./messages.ts";
import { entryPoint, startThreads } from "../entry-points.ts";

/** What workers tell; called on the main thread. */
export type CrewListener = {
  findings(findings: Finding[]): void;
  failures(failures: Failure[]): void;
  looked(looked: Looked[]): void;
  affected(affected: Affected[]): void;
};

/** A tree or the store fails as a whole. */
export class CrewFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Job = { task: Task; resolve: (result: TaskResult | undefined) => void; reject: (error: Error) => void };
type Seat = { worker: Worker; job: Job | undefined; ended: Promise<unknown> };

/** Worker threads that read trees. Tasks are few (directories near the root), and wait in order. */
export class Crew {
  readonly #seats: Seat[];
  readonly #control: Control;
  readonly #tallies: SharedTallies;
  readonly #listener: CrewListener;
  readonly #waiting: Job[] = [];
  #failure: Error | undefined;

  static async start(
    jobs: number,
    setup: Omit<WorkerSetup, "worker" | "control" | "tallies">,
    listener: CrewListener,
  ): Promise<Crew> {
    const control = Control.allocate();
    const tallies = SharedTallies.allocate(jobs);
    const seats = startThreads(entryPoint("verify-worker"), jobs).map((worker) => takeSeat(worker));
    const crew = new Crew(seats, new Control(control), new SharedTallies(tallies), listener);
    await Promise.all(
      seats.map(({ worker }, number) => ready(worker, { ...setup, worker: number, control, tallies })),
    );
    for (const seat of seats) crew.#listen(seat);
    return crew;
  }

  private constructor(seats: Seat[], control: Control, tallies: SharedTallies, listener: CrewListener) {
    this.#seats = seats;
    this.#control = control;
    this.#tallies = tallies;
    this.#listener = listener;
  }

  get jobs(): number {
    return this.#seats.length;
  }
  get tally(): Tally {
    return this.#tallies.sum();
  }
  /** Tasks that wait or are being done. */
  get pending(): number {
    return this.#waiting.length + this.#seats.filter(({ job }) => job !== undefined).length;
  }

  stop(): void {
    this.#control.stop();
    this.#assign();
  }

  /** undefined: the run is being stopped. Rejects when a tree fails as a whole. */
  run(task: Task): Promise<TaskResult | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, resolve, reject });
      this.#assign();
    });
  }

  /** The same task for every worker, once all are idle. */
  async tellAll(task: Task): Promise<void> {
    await Promise.all(this.#seats.map(() => this.run(task)));
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#seats.map(async ({ worker, ended }) => {
        worker.postMessage({ type: "close" } satisfies ToWorker);
        const timer = setTimeout(() => void worker.terminate(), 5000);
        await ended;
        clearTimeout(timer);
      }),
    );
  }

  #assign(): void {
    if (this.#control.isStopped) {
      for (const { resolve, reject } of this.#waiting.splice(0))
        if (this.#failure === undefined) resolve(undefined);
        else reject(this.#failure);
      return;
    }
    for (const seat of this.#seats) {
      if (seat.job !== undefined) continue;
      const job = this.#waiting.shift();
      if (job === undefined) return;
      seat.job = job;
      seat.worker.postMessage({ type: "task", task: job.task } satisfies ToWorker);
    }
  }

  #listen(seat: Seat): void {
    seat.worker.on("message", (message: FromWorker) => {
      this.#receive(seat, message);
    });
    seat.worker.on("error", (error: Error) => {
      this.#fail(seat, error);
    });
  }

  #receive(seat: Seat, message: FromWorker): void {
    switch (message.type) {
      case "findings":
        this.#listener.findings(message.findings.map(restored));
        return;
      case "failures":
        this.#listener.failures(message.failures.map(restored));
        return;
      case "looked":
        this.#listener.looked(message.looked.map(restored));
        return;
      case "affected":
        this.#listener.affected(message.affected.map(restored));
        return;
      case "done":
        this.#finish(seat, (job) => {
          job.resolve(message.result);
        });
        return;
      case "stopped":
        this.#finish(seat, (job) => {
          job.resolve(undefined);
        });
        return;
      case "fatal":
        this.#fail(seat, new CrewFailure(message.code, message.message));
        return;
      case "ready":
        return;
    }
  }

  #finish(seat: Seat, settle: (job: Job) => void): void {
    const { job } = seat;
    seat.job = undefined;
    if (job !== undefined) settle(job);
    this.#assign();
  }

  #fail(seat: Seat, error: Error): void {
    this.#failure ??= error;
    this.#control.stop();
    this.#finish(seat, (job) => {
      job.reject(error);
    });
  }
}

/** A Buffer that crossed threads is a Uint8Array. */
function restored<T extends { path: Buffer }>(message: T): T {
  return { ...message, path: Buffer.from(message.path) };
}

function takeSeat(worker: Worker): Seat {
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  return { worker, job: undefined, ended };
}

async function ready(worker: Worker, setup: WorkerSetup): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => {
      resolve();
    });
    worker.once("error", reject);
    worker.postMessage({ type: "setup", setup } satisfies ToWorker);
  });
}
