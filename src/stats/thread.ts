import { SysError, errnoSentence } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { readOnlySys } from "../sys/read-only.ts";
import { Scratch } from "../sys/scratch.ts";
import type { Sys } from "../sys/sys.ts";
import { Control } from "../work/control.ts";
import { RunFailure, Stopped, sourceBroken } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import { COUNT_COLUMNS, countedUnits } from "./layout.ts";
import type { FromStatsWorker, StatsSetup } from "./messages.ts";

const PER_MESSAGE = 256;

/** What one thread of stats has: a kernel that cannot write, and one for its own scratch files. */
export class StatsThread implements Kernel {
  readonly sys: Sys;
  readonly scratch: Scratch;
  readonly setup: StatsSetup;
  readonly control: Control;
  /** Writes to scratch files alone. */
  readonly writer: Sys;
  readonly send: (message: FromStatsWorker) => void;
  readonly #counts: Float64Array;
  /** Of a second walk nothing is told that the first one has told. */
  isSilent = false;
  #failures: Failure[] = [];
  #looked: Buffer[] = [];

  constructor(sys: Sys, setup: StatsSetup, send: (message: FromStatsWorker) => void) {
    this.sys = readOnlySys(sys);
    this.writer = sys;
    this.scratch = new Scratch(sys);
    this.setup = setup;
    this.control = new Control(setup.control);
    this.send = send;
    const columns = new Float64Array(setup.counts);
    const perThread = countedUnits(setup.rules.units) * COUNT_COLUMNS;
    this.#counts = columns.subarray(setup.worker * perThread, (setup.worker + 1) * perThread);
  }

  count(unit: number, column: number, amount: number): void {
    const at = unit * COUNT_COLUMNS + column;
    this.#counts[at] = (this.#counts[at] as number) + amount;
  }

  /** @throws Stopped */
  checkStop(): void {
    if (this.control.isStopped) throw new Stopped();
  }

  /** Runs `work`; that an entry cannot be read is listed, that the drive is gone ends the run. */
  attempt(path: () => Buffer, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      const sentence = errnoSentence(error.code);
      if (sourceBroken.has(error.errno))
        throw new RunFailure(error.code, `the target failed: ${error.call}: ${sentence} (${error.code})`);
      if (this.isSilent) return;
      this.#failures.push({ path: path(), code: error.code, message: `${sentence} (${error.call})` });
      if (this.#failures.length >= PER_MESSAGE) this.flush();
    }
  }

  looked(path: () => Buffer): void {
    if (!this.setup.rules.verbose || this.isSilent) return;
    this.#looked.push(path());
    if (this.#looked.length >= PER_MESSAGE) this.flush();
  }

  flush(): void {
    if (this.#failures.length > 0) this.send({ type: "failures", failures: this.#failures });
    if (this.#looked.length > 0) this.send({ type: "looked", paths: this.#looked });
    this.#failures = [];
    this.#looked = [];
  }
}
