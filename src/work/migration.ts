import type { Kernel } from "../sys/files.ts";
import type { Store } from "../../store/store.ts";
import type { Unit } from "../tree/snapshots.ts";
import { beyond, isBeyond, isPublished } from "./target-path.ts";
import { entryFailure } from "./errors.ts";
import type { Failure, LateMode, Task, TaskOutcome, WalkMode } from "./messages.ts";
import type { Pool } from "./pool.ts";
import { openUnit } from "./open-unit.ts";
import { openActions, type Publisher } from "./publish.ts";
import type { SourceDirectory } from "./published-directory.ts";
import { stagedName } from "./staged-name.ts";
import { sweepStaging } from "./sweep-staging.ts";
import { WalkedUnits } from "./walked-units.ts";

/** Longest time between seals, and least while a finished unit waits to be published. */
const SEAL_MOST_MS = 10_000;
const SEAL_LEAST_MS = 5_000;
/** Content written, or inodes made, since the last seal that make the next one due. */
const SEAL_BYTES = 1 << 30;
const SEAL_INODES = 16_384;

export type UnitState = "new" | "updated" | "unchanged" | "incomplete";
/** What became of a unit. */
export type UnitReport = { unit: number; state: UnitState; names: number; failures: number };

export type MigrationListener = {
  unit(report: UnitReport): void;
  begun(unit: number): void;
  failures(failures: Failure[]): void;
};

type Progress = {
  mode: WalkMode;
  staged: Buffer;
  actionsFd: number;
  failures: number;
  names: number;
  lateModes: LateMode[];
  rootDevice: number;
};

/**
 * Drives the units of a plan through the pool, and publishes those that are complete each time a batch is sealed.
 */
export class Migration {
  readonly #kernel: Kernel;
  readonly #roots: { sourceFd: number; targetFd: number; sourceDevice: number };
  readonly #store: Store;
  readonly #publisher: Publisher;
  readonly #listener: MigrationListener;
  readonly #units: readonly Unit[];
  /** Throws where what was walked may have been less than the source. */
  readonly #checkSource: () => void;
  readonly #plansFd: number;
  readonly #progress = new Map<number, Progress>();
  readonly walked: WalkedUnits;
  readonly #complete: number[] = [];
  #pool: Pool | undefined;
  #sealing: Promise<void> | undefined;
  #sealFailure: unknown;
  #lastSealMs = performance.now();
  #lastSealBytes = 0;
  #lastSealInodes = 0;
  deletedNames = 0;
  heldDeletes = 0;

  constructor(parts: {
    kernel: Kernel;
    roots: { sourceFd: number; targetFd: number; sourceDevice: number };
    store: Store;
    publisher: Publisher;
    listener: MigrationListener;
    units: readonly Unit[];
    checkSource: () => void;
    /** A directory for what updates plan. */
    plansFd: number;
  }) {
    this.#kernel = parts.kernel;
    this.#roots = parts.roots;
    this.#store = parts.store;
    this.#publisher = parts.publisher;
    this.#listener = parts.listener;
    this.#units = parts.units;
    this.#checkSource = parts.checkSource;
    this.#plansFd = parts.plansFd;
    this.walked = new WalkedUnits(parts.kernel, parts.roots.sourceFd, parts.units);
  }

  /**
   * Removes what no unit of this plan will take up again: one that is published is compared where it is.
   * @returns what stays all the same, by its path on the target
   */
  sweep(): Failure[] {
    const unpublished = this.#units.filter(
      ({ path }) => !isPublished(this.#kernel, this.#roots.targetFd, path),
    );
    const wanted = new Set(unpublished.map(({ path }) => stagedName(path).toString("latin1")));
    return sweepStaging(this.#kernel, this.#store.directories.stagingFd, wanted);
  }

  /**
   * Builds and publishes all units, in order. Ends early when stopped or when the run fails; what was complete by
   * then is sealed and published. @throws RunFailure
   */
  async run(pool: Pool): Promise<void> {
    this.#pool = pool;
    const timer = setInterval(() => {
      this.#sealWhenDue();
    }, 250);
    try {
      for (let unit = 0; unit < this.#units.length; unit++) {
        await pool.hungry();
        if (pool.control.isStopped) break;
        this.#begin(unit);
      }
    } catch (error) {
      pool.control.stop();
      throw error;
    } finally {
      await pool.idle();
      clearInterval(timer);
    }
    await this.#sealing;
    // A second syncfs would answer 0: the kernel tells of lost writes once (P2).
    if (this.#sealFailure === undefined && !pool.hasBrokenTarget) await this.#seal();
    pool.throwIfFailed();
    if (this.#sealFailure !== undefined) throw this.#sealFailure as Error;
  }

  #isBeyond(path: Buffer): boolean {
    return isBeyond(this.#kernel, this.#roots.targetFd, path);
  }

  #begin(unit: number): void {
    const { path } = this.#units[unit] as Unit;
    try {
      if (this.#isBeyond(path)) throw beyond();
      const task = this.#task(unit, path);
      this.#listener.begun(unit);
      this.#pool?.add(task);
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      this.#listener.failures([{ path, code, message }]);
      this.#listener.unit({ unit, state: "incomplete", names: 0, failures: 1 });
    }
  }

  #task(unit: number, path: Buffer): Task {
    const folders = { ...this.#roots, stagingFd: this.#store.directories.stagingFd };
    const opened = openUnit(this.#kernel, folders, this.#units[unit] as Unit);
    const { mode, sourceFd, targetFd, staged, isPlain } = opened;
    const isUpdate = mode === "update" || mode === "loose";
    this.walked.note(unit, sourceFd);
    const actionsFd = isUpdate ? openActions(this.#kernel, this.#plansFd, unit) : -1;
    const rootDevice = path.length === 0 ? -1 : this.#roots.sourceDevice;
    this.#progress.set(unit, { mode, staged, actionsFd, failures: 0, names: 0, lateModes: [], rootDevice });
    const parentDevice = rootDevice;
    return { type: "task", unit, mode, sourceFd, targetFd, actionsFd, path, isPlain, parentDevice };
  }

  failures(unit: number, failures: Failure[]): void {
    const progress = this.#progress.get(unit);
    if (progress !== undefined) progress.failures += failures.length;
    this.#listener.failures(failures);
  }

  lateModes(unit: number, modes: LateMode[]): void {
    this.#progress.get(unit)?.lateModes.push(...modes);
  }

  unitDone(unit: number, outcome: TaskOutcome, names: number): void {
    const progress = this.#progress.get(unit);
    if (progress === undefined) return;
    progress.names = names;
    if (outcome === "withheld")
      this.#listener.unit({ unit, state: "incomplete", names, failures: progress.failures });
    if (outcome === "done") this.#complete.push(unit);
    else if (progress.actionsFd >= 0) this.#kernel.sys.close(progress.actionsFd);
    this.#sealWhenDue();
  }

  #sealWhenDue(): void {
    if (this.#sealing !== undefined || this.#pool === undefined || this.#sealFailure !== undefined) return;
    const sinceMs = performance.now() - this.#lastSealMs;
    const { writtenBytes, createdInodes } = this.#pool.counters.sum();
    const isDue =
      sinceMs > SEAL_MOST_MS ||
      (sinceMs > SEAL_LEAST_MS && this.#complete.length > 0) ||
      writtenBytes - this.#lastSealBytes > SEAL_BYTES ||
      createdInodes - this.#lastSealInodes > SEAL_INODES;
    if (!isDue) return;
    this.#sealing = this.#seal().finally(() => {
      this.#sealing = undefined;
    });
  }

  /** Seals the batch, then publishes the units that were complete before it began. */
  async #seal(): Promise<void> {
    const ready = this.#complete.splice(0).sort((a, b) => a - b);
    const counted = this.#pool?.counters.sum();
    this.#lastSealBytes = counted?.writtenBytes ?? 0;
    this.#lastSealInodes = counted?.createdInodes ?? 0;
    try {
      await this.#store.seal();
      if (ready.length > 0) this.#checkSource();
      for (const unit of ready) this.#publish(unit);
    } catch (error) {
      this.#sealFailure ??= error;
      this.#pool?.control.stop();
    }
    this.#lastSealMs = performance.now();
  }

  #publish(unit: number): void {
    const progress = this.#progress.get(unit);
    const { path } = this.#units[unit] as Unit;
    if (progress === undefined) return;
    let changes = 0;
    try {
      if (progress.mode === "loose" && progress.staged.length > 0)
        this.#publisher.container(progress.staged, path);
      if (progress.actionsFd >= 0) changes = this.#applyActions(unit, progress);
      else this.#publisher.snapshot(progress.staged, path);
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      progress.failures++;
      this.#listener.failures([{ path, code, message }]);
    }
    this.#publisher.lateModes(progress.lateModes);
    this.#progress.delete(unit);
    this.#listener.unit({
      unit,
      state: stateOf(progress, changes),
      names: progress.names,
      failures: progress.failures,
    });
  }

  /** Directories get the metadata of those that were walked, whatever name they get meanwhile. */
  #applyActions(unit: number, progress: Progress): number {
    try {
      return this.walked.withDirectory(unit, (walked) => this.#carryOut(progress, walked));
    } finally {
      this.#kernel.sys.close(progress.actionsFd);
    }
  }

  #carryOut(progress: Progress, walked: SourceDirectory): number {
    const published = this.#publisher.actions(progress.actionsFd, progress.mode, walked);
    this.deletedNames += published.deletedNames;
    this.heldDeletes += published.deletesHeld;
    progress.failures += published.failures.length;
    if (published.failures.length > 0) this.#listener.failures(published.failures);
    return published.changes;
  }

  /** Before anything is published into them. */
  prepareContainers(containers: readonly Buffer[]): void {
    this.#eachContainer(containers, (path) => {
      this.#publisher.prepareContainer(path);
    });
  }

  /** The containers' own metadata, once nothing is published into them or below any more; deepest first. */
  finishContainers(containers: readonly Buffer[]): void {
    const deepestFirst = [...containers].sort((a, b) => b.length - a.length);
    this.#eachContainer(deepestFirst, (path) => {
      this.#publisher.directory(path);
    });
  }

  #eachContainer(containers: readonly Buffer[], work: (path: Buffer) => void): void {
    for (const path of containers) {
      // Its loose names are a unit, of which it was said.
      if (this.#isBeyond(path)) continue;
      try {
        work(path);
      } catch (error) {
        const { code, message } = entryFailure(error, "target");
        this.#listener.failures([{ path, code, message }]);
      }
    }
  }
}

function stateOf(progress: Progress, changes: number): UnitState {
  if (progress.failures > 0) return "incomplete";
  if (progress.mode === "fill" || progress.mode === "refill") return "new";
  return changes > 0 ? "updated" : "unchanged";
}
