import { Control } from "../work/control.ts";
import type { Failure } from "../work/messages.ts";
import { TaskPool } from "../work/task-pool.ts";
import type { FromRelinkWorker, RelinkSetup, ToRelinkWorker } from "./messages.ts";
import type { Run } from "./sorter.ts";
import { SharedTally } from "./tally.ts";

/** Worker threads of a relink. */
export class RelinkPool extends TaskPool<ToRelinkWorker, FromRelinkWorker> {
  readonly tally: SharedTally;

  static async start(
    jobs: number,
    setup: Omit<RelinkSetup, "worker" | "control" | "tally">,
    onFailures: (failures: Failure[]) => void,
  ): Promise<RelinkPool> {
    const control = Control.allocate();
    const tally = SharedTally.allocate(jobs);
    const seats = await TaskPool.seats<ToRelinkWorker, FromRelinkWorker>(
      new URL("./worker.js", import.meta.url),
      jobs,
      (worker) => ({ type: "setup", setup: { ...setup, worker, control, tally } }),
    );
    return new RelinkPool(seats, control, { onFailures, tally });
  }

  private constructor(
    seats: Awaited<ReturnType<typeof TaskPool.seats<ToRelinkWorker, FromRelinkWorker>>>,
    control: SharedArrayBuffer,
    parts: { onFailures: (failures: Failure[]) => void; tally: SharedArrayBuffer },
  ) {
    super(seats, control, { failures: parts.onFailures });
    this.tally = new SharedTally(parts.tally);
  }

  /** What all threads have sorted since the last call. */
  async collect(): Promise<Run[]> {
    const answers = await this.tellAll({ type: "collect" });
    return answers.flatMap((answer) => (answer.type === "collected" ? answer.runs : []));
  }
}
