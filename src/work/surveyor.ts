import { errno } from "../sys/errors.ts";
import { openBelow } from "../tree/path.ts";
import type { Unit } from "../tree/snapshots.ts";
import { beyond, isBeyond } from "./target-path.ts";
import { EntryFailure, entryFailure, onSource, onTarget } from "./errors.ts";
import type { UnitReport, UnitState } from "./migration.ts";
import type { SurveyContext } from "./survey-context.ts";
import { SurveyWalker, type SurveyTask } from "./survey-walk.ts";

export type SurveyRoots = {
  sourceFd: number;
  targetFd: number;
  sourceDevice: number;
  /** A directory without entries, in the place of a container that is not there yet. */
  emptyFd: number;
};

export type SurveyListener = { begun(unit: number): void; unit(report: UnitReport): void };

/** Goes through the units of a plan in order, as `Migration` does, and says what would become of each. */
export class Surveyor {
  readonly #context: SurveyContext;
  readonly #walker: SurveyWalker;
  readonly #roots: SurveyRoots;

  constructor(context: SurveyContext, roots: SurveyRoots) {
    this.#context = context;
    this.#roots = roots;
    this.#walker = new SurveyWalker(context);
  }

  /** @throws RunFailure, Stopped */
  run(units: readonly Unit[], listener: SurveyListener): void {
    units.forEach((unit, position) => {
      this.#context.thread.checkStop();
      this.#context.failures = 0;
      this.#context.changes = 0;
      listener.begun(position);
      const state = this.#survey(unit, position);
      const { names } = this.#walker;
      const { failures } = this.#context;
      if (failures === 0) this.#removeFromSource(position);
      listener.unit({ unit: position, state: failures > 0 ? "incomplete" : state, names, failures });
    });
  }

  /** As remove-source.ts: of a unit that is whole on the target, all but directories. */
  #removeFromSource(unit: number): void {
    const { thread } = this.#context;
    if (!thread.rules.removeSourceFiles) return;
    thread.counters.removedSourceNames += this.#walker.names - this.#walker.directories;
    thread.flush(unit);
  }

  #survey(unit: Unit, position: number): UnitState {
    const { thread } = this.#context;
    let mode: SurveyTask["mode"] = "fill";
    try {
      this.#walker.names = 0;
      const task = this.#task(unit, position);
      mode = task.mode;
      this.#walker.run(task);
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      if (!(error instanceof EntryFailure)) throw error;
      thread.counters.failures++;
      thread.give({
        type: "failures",
        unit: position,
        failures: [{ path: unit.path, code, message }],
      });
    }
    thread.flush(position);
    if (mode === "fill") return "new";
    return this.#context.changes > 0 ? "updated" : "unchanged";
  }

  #task({ type, path }: Unit, unit: number): SurveyTask {
    const { thread, needs } = this.#context;
    const { sourceFd, targetFd, sourceDevice, emptyFd } = this.#roots;
    const parentDevice = path.length === 0 ? -1 : sourceDevice;
    if (isBeyond(thread, targetFd, path)) throw beyond();
    const from = onSource(openBelow(thread, sourceFd, path), "openat");
    const published = openBelow(thread, targetFd, path);
    if (published >= 0) {
      const mode = type === "loose" ? "loose" : "update";
      return { unit, mode, sourceFd: from, targetFd: published, path, parentDevice };
    }
    if (published !== -errno.ENOENT && published !== -errno.ENOTDIR && published !== -errno.ELOOP)
      onTarget(published, "openat");
    if (type !== "loose") return { unit, mode: "fill", sourceFd: from, targetFd: -1, path, parentDevice };
    needs.directory(0);
    const nothing = onTarget(openBelow(thread, emptyFd, Buffer.alloc(0)), "openat");
    return { unit, mode: "loose", sourceFd: from, targetFd: nothing, path, parentDevice };
  }
}
