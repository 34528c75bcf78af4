import type { Worker } from "node:worker_threads";
import { entryPoint } from "../entry-points.ts";
import { Control } from "../work/control.ts";
import type { Failure } from "../work/messages.ts";
import { TaskPool, type FromThread, type Seat } from "../work/task-pool.ts";
import type { FromRelinkWorker, RelinkSetup, RelinkTask, ToRelinkWorker } from "./messages.ts";
import type { Run } from "./sorter.ts";
import { SharedTally } from "./tally.ts";

/** What threads tell meanwhile; called on the main thread. */
export type RelinkListener<Told> = {
  failures(failures: Failure[]): void;
  met?(path: Buffer, inode: string): void;
  told?(told: Told): void;
};

type To<Task> = ToRelinkWorker<RelinkTask | Task>;
type RelinkSeat<Task, Told> = Seat<FromRelinkWorker<Told> | FromThread<RelinkTask | Task>>;

/** The threads' program: that of a relink, or one that does further tasks. */
const RELINK_WORKER = entryPoint("relink-worker");

/** Worker threads of a relink. */
export class RelinkPool<Task extends { type: string } = never, Told = never> extends TaskPool<
  To<Task>,
  FromRelinkWorker<Told>,
  RelinkTask | Task
> {
  readonly tally: SharedTally;

  /** Threads that load their program while the main thread opens the target; to be terminated if that fails. */
  static boot(jobs: number, program: URL = RELINK_WORKER): Worker[] {
    return TaskPool.threads(program, jobs);
  }

  static async start<Task extends { type: string } = never, Told = never>(
    jobs: number,
    setup: Omit<RelinkSetup, "worker" | "control" | "tally">,
    listener: RelinkListener<Told> & { workers?: readonly Worker[] },
  ): Promise<RelinkPool<Task, Told>> {
    const shared = { control: Control.allocate(), tally: SharedTally.allocate(jobs) };
    const workers = listener.workers ?? RelinkPool.boot(jobs);
    const seats: RelinkSeat<Task, Told>[] = await TaskPool.seats(workers, (worker) => {
      return { type: "setup", setup: { ...setup, worker, ...shared } } satisfies ToRelinkWorker;
    });
    return new RelinkPool<Task, Told>(seats, { ...shared, listener });
  }

  private constructor(
    seats: RelinkSeat<Task, Told>[],
    parts: { control: SharedArrayBuffer; tally: SharedArrayBuffer; listener: RelinkListener<Told> },
  ) {
    const { control, listener } = parts;
    super(seats, {
      control,
      listener: {
        failures: (failures) => {
          listener.failures(failures);
        },
        told: (message) => tell(message, listener),
      },
      messageOf: (task) => ({ type: "task", task }),
    });
    this.tally = new SharedTally(parts.tally);
  }

  /** What all threads have sorted since the last call. */
  async collect(): Promise<Run[]> {
    const answers = await this.tellAll({ type: "collect" });
    return answers.flatMap((answer) => (answer.type === "collected" ? answer.runs : []));
  }
}

function tell<Told>(message: FromRelinkWorker<Told>, listener: RelinkListener<Told>): boolean {
  if (message.type === "met") listener.met?.(Buffer.from(message.path), message.inode);
  else if (message.type === "told") listener.told?.(message.told);
  else return false;
  return true;
}
