import { entryPoint } from "../entry-points.ts";
import { openScratch } from "../relink/record-file.ts";
import type { Run } from "../relink/sorter.ts";
import type { Kernel } from "../sys/files.ts";
import type { Temporary } from "../tree/temporary.ts";
import { Control } from "../work/control.ts";
import type { Failure } from "../work/messages.ts";
import { TaskPool, type FromThread, type Seat } from "../work/task-pool.ts";
import { COUNT_COLUMNS, countedUnits } from "./layout.ts";
import type { CountRules, FromStatsWorker, Inode, ToStatsWorker } from "./messages.ts";

export type StatsListener = {
  failures: (failures: Failure[]) => void;
  looked: (paths: Buffer[]) => void;
};

export type StatsPoolParts = {
  jobs: number;
  sysModule: string;
  rules: CountRules;
  rootFd: number;
  /** Where scratch files are made. */
  temporary: Temporary;
};

type StatsSeat = Seat<FromStatsWorker | FromThread<ToStatsWorker>>;

type Found = (inode: Inode, path: Buffer) => void;

/** Worker threads that read a tree. */
export class StatsPool extends TaskPool<ToStatsWorker, FromStatsWorker> {
  /** COUNT_COLUMNS for each unit and what comes beside them, once for each thread. */
  readonly counts: Float64Array;
  readonly #units: number;
  readonly #hears: { found: Found };

  /** @throws SysError when scratch files cannot be made */
  static async start(writer: Kernel, parts: StatsPoolParts, listener: StatsListener): Promise<StatsPool> {
    const { jobs, temporary, ...setup } = parts;
    const control = Control.allocate();
    const counts = new SharedArrayBuffer(jobs * countedUnits(parts.rules.units) * COUNT_COLUMNS * 8);
    const seats: StatsSeat[] = await TaskPool.seats(
      TaskPool.threads(entryPoint("stats-worker"), jobs),
      (worker) => {
        const [namesFd, factsFd] = [
          openScratch(writer, temporary.fd, "names"),
          openScratch(writer, temporary.fd, "facts"),
        ];
        const whole = { ...setup, worker, control, counts, namesFd, factsFd };
        return { type: "setup", setup: whole } satisfies ToStatsWorker;
      },
    );
    return new StatsPool(seats, control, { listener, counts, units: parts.rules.units });
  }

  private constructor(
    seats: StatsSeat[],
    control: SharedArrayBuffer,
    parts: { listener: StatsListener; counts: SharedArrayBuffer; units: number },
  ) {
    const hears: { found: Found } = { found: () => undefined };
    super(seats, {
      control,
      listener: { failures: parts.listener.failures, told: (message) => tell(message) },
      messageOf: (task) => task,
    });
    this.counts = new Float64Array(parts.counts);
    this.#units = parts.units;
    this.#hears = hears;
    function tell(message: FromStatsWorker): boolean {
      if (message.type === "looked") parts.listener.looked(message.paths.map((path) => Buffer.from(path)));
      else if (message.type === "found") hears.found(message.inode, Buffer.from(message.path));
      else return false;
      return true;
    }
  }

  /** From now on names of inodes that were looked for are told to `found`. */
  hear(found: Found): void {
    this.#hears.found = found;
  }

  /** What was counted of a unit, by all threads. */
  counted(unit: number, column: number): number {
    let sum = 0;
    const perThread = countedUnits(this.#units) * COUNT_COLUMNS;
    for (let at = unit * COUNT_COLUMNS + column; at < this.counts.length; at += perThread)
      sum += this.counts[at] as number;
    return sum;
  }

  /** What all threads have written down. */
  async collect(): Promise<{ names: Run[]; facts: Run[] }> {
    const answers = await this.tellAll({ type: "collect" });
    const collected = answers.flatMap((answer) => (answer.type === "collected" ? [answer] : []));
    return {
      names: collected.flatMap(({ names }) => names),
      facts: collected.flatMap(({ facts }) => facts),
    };
  }
}
