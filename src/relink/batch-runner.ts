import type { Compared } from "../options.ts";
import type { Kernel } from "../sys/files.ts";
import type { Store } from "../../store/store.ts";
import { encodeBatch, writeBatchLog, type PathSource } from "./batch-log.ts";
import type { BatchMemory, BatchView } from "./batch-memory.ts";
import { closeBatch } from "./finish-interrupted.ts";
import type { RelinkTask } from "./messages.ts";
import type { RelinkPool } from "./relink-pool.ts";
import { undoFiles } from "./undo-log.ts";

/** Targets, or directories of a batch, that are one task. */
const TASK_MOST = 512;

export type RunnerParts = {
  kernel: Kernel;
  rootFd: number;
  pool: Pick<RelinkPool, "jobs" | "run">;
  store: Store;
  /** Of the stock. */
  directories: PathSource;
  /** What the names lose is written to the undo log. */
  keepsDiscarded: boolean;
};

/** Carries out batches in the numbered order of docs/design.md, "Relinking". */
export class BatchRunner {
  readonly #parts: RunnerParts;
  #serial: number;

  /** @throws SysError */
  constructor(parts: RunnerParts) {
    const { kernel, store } = parts;
    this.#parts = parts;
    this.#serial = undoFiles(kernel, store.directories.logFd).at(-1)?.serial ?? 0;
  }

  /** @returns false: cut short by a stop. @throws RunFailure, SysError */
  async run(memory: BatchMemory, batch: BatchView): Promise<boolean> {
    const { kernel, rootFd, pool, store, directories, keepsDiscarded } = this.#parts;
    const { logFd, objectsFd, tmpFd } = store.directories;
    if (keepsDiscarded) this.#serial++;
    const undo = keepsDiscarded ? this.#serial : undefined;
    const more = { batch: memory, store: { objectsFd, tmpFd, logFd }, undo };
    const on = (type: "prepare" | "replace", log: string): Generator<RelinkTask> =>
      tasksOf(batch.directoryCount, pool.jobs, (range) => ({ type, ...range, ...more, log }));
    await pool.run(
      tasksOf(batch.targetCount, pool.jobs, (range) => ({ type: "adopt", ...range, batch: memory })),
    );
    if (!(await pool.run(on("prepare", "")))) return false;
    const log = writeBatchLog(kernel, logFd, encodeBatch(batch, directories));
    await store.seal();
    const isWhole = await pool.run(on("replace", log));
    closeBatch({ kernel, rootFd, tmpFd, logFd, objectsFd });
    return isWhole;
  }
}

/** Whether the survivor gives its names values that they did not have. */
export function discardsAny({ time, mode, owner, xattrs }: Compared): boolean {
  return !(time && mode && owner && xattrs);
}

type Range = { first: number; count: number };

/** As many tasks as keep all threads at work until the end. */
function* tasksOf(count: number, jobs: number, task: (range: Range) => RelinkTask): Generator<RelinkTask> {
  const size = Math.max(1, Math.min(TASK_MOST, Math.ceil(count / (jobs * 8))));
  for (let first = 0; first < count; first += size)
    yield task({ first, count: Math.min(size, count - first) });
}
