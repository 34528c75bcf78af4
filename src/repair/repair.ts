import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { Stat } from "../sys/stat.ts";
import type { Compared } from "../options.ts";
import { Ref } from "../../store/store.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { EntryFailure, entryFailure } from "../work/errors.ts";
import type { Interrupted } from "../relink/interrupted.ts";
import { INO_HIGH, INO_LOW } from "../relink/layout.ts";
import { Candidates } from "./candidates.ts";
import { Copier, type Copy } from "./copy.ts";
import { refOf, type DamagedInode, type Outcome } from "./damaged.ts";
import { Examiner, type Examined } from "./examine.ts";
import type { Replacement } from "./log-directories.ts";
import { Replacing, stillNames } from "./replacing.ts";
import type { RecordedObjects } from "./recorded.ts";
import { nameAgain, renameObject } from "./rename.ts";

/** Wrong names that may hide one another. */
const MOST_RENAMES = 8;

export type RepairParts = Interrupted & {
  compared: Compared;
  /** The source that the target was made from, where one was given. */
  source: { fd: number; path: string } | undefined;
  /** Files in the snapshots that are no object: paths from the root. */
  strangers: readonly Buffer[];
  /** The names in the snapshots of an inode, as the walk found them. */
  namesOf: (inoHigh: number, inoLow: number) => readonly Buffer[];
  recorded: RecordedObjects;
};

type Planned = { copy: Copy; names: readonly Buffer[] };

/**
 * Puts damaged objects right, for all of their names, in the order of docs/design.md, "Repairing". It is handed what
 * verify has found, and believes none of it.
 */
export class Repair {
  readonly #parts: RepairParts;
  readonly #examiner: Examiner;
  readonly #copier: Copier;
  readonly #stat: Stat;
  readonly #replacing: Replacing;

  constructor(parts: RepairParts) {
    const { kernel, objectsFd, compared } = parts;
    this.#parts = parts;
    this.#examiner = new Examiner(kernel, { objectsFd, compared, recorded: parts.recorded });
    const candidates = new Candidates({ ...parts, examiner: this.#examiner });
    this.#copier = new Copier({
      ...{ kernel, tmpFd: parts.tmpFd, examiner: this.#examiner, candidates },
      ...{ comparesTime: compared.time, recorded: parts.recorded },
    });
    this.#stat = new Stat(kernel.sys);
    this.#replacing = new Replacing(parts);
  }

  /** A batch of objects, each by its path; undefined for one that is sound. @throws RunFailure, SysError */
  run(objects: readonly Buffer[]): (Outcome | undefined)[] {
    const outcomes = new Map<Buffer, Outcome | undefined>();
    const planned: Planned[] = [];
    for (const object of objects) {
      const done = this.#attempt(object, [], () => this.#prepare(object, planned));
      outcomes.set(object, done);
    }
    for (const outcome of this.#replaceAll(planned)) outcomes.set(outcome.object, outcome);
    return objects.map((object) => outcomes.get(object));
  }

  /** Gives an inode, by one of its names in the snapshots, the object's name that was deleted. @throws RunFailure */
  nameAgain(object: Buffer, path: Buffer): Outcome | undefined {
    const { kernel, rootFd, objectsFd } = this.#parts;
    const { parent, name: leaf } = parentAndName(path);
    return this.#attempt(object, [path], () => {
      const dirFd = openBelow(kernel, rootFd, parent);
      if (dirFd < 0) throw new EntryFailure("CHANGED", "its directory is gone");
      try {
        nameAgain(kernel, { objectsFd, dirFd, leaf }, { object, examiner: this.#examiner });
      } finally {
        kernel.sys.close(dirFd);
      }
      return { type: "renamed", object, to: object };
    });
  }

  #attempt(object: Buffer, names: readonly Buffer[], work: () => Outcome | undefined): Outcome | undefined {
    try {
      return work();
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      const all = names.length > 0 ? names : this.#namesOfObject(object);
      return { type: "unrepaired", object, code, message, names: all };
    }
  }

  #namesOfObject(object: Buffer): readonly Buffer[] {
    const { kernel, objectsFd, namesOf } = this.#parts;
    const ref = refOf(kernel.sys, object);
    if (ref === undefined) return [];
    const found = kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    return found < 0 ? [] : namesOf(this.#stat.inoHigh, this.#stat.inoLow);
  }

  /** Puts a wrong name right at once; of what is rotten a copy is written, which joins `planned`. */
  #prepare(object: Buffer, planned: Planned[]): Outcome | undefined {
    const { kernel, objectsFd, namesOf } = this.#parts;
    let renamed: Outcome | undefined;
    for (let tries = 0; tries < MOST_RENAMES; tries++) {
      const examined = this.#examineIfThere(object, renamed !== undefined);
      if (examined.type === "sound") return renamed;
      if (examined.type === "rotten") {
        const { inode } = examined;
        const names = stillNames(
          this.#parts,
          inode,
          namesOf(inode.state[INO_HIGH] ?? 0, inode.state[INO_LOW] ?? 0),
        );
        planned.push({ copy: this.#write(inode, names), names });
        return renamed;
      }
      const to = renameObject(kernel, { objectsFd, examiner: this.#examiner }, examined);
      renamed = { type: "renamed", object, to };
    }
    throw new EntryFailure("EEXIST", "names of objects lead to one another");
  }

  /** An object that has just got another name leaves none behind, or the one that lay there. */
  #examineIfThere(object: Buffer, mayBeGone: boolean): Examined {
    const { kernel, objectsFd } = this.#parts;
    const ref = refOf(kernel.sys, object);
    if (mayBeGone && ref !== undefined) {
      const found = kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, this.#stat.address);
      if (found < 0) return { type: "sound" };
    }
    return this.#examiner.examine(object);
  }

  #write(inode: DamagedInode, names: readonly Buffer[]): Copy {
    const { kernel } = this.#parts;
    const fd = this.#examiner.open(new Ref(kernel.sys).setBytes(inode.ref));
    try {
      return this.#copier.write(inode, fd, names);
    } finally {
      kernel.sys.close(fd);
    }
  }

  /** Copies are durable and read back before anything gives way to them. */
  #replaceAll(planned: readonly Planned[]): Outcome[] {
    const { kernel, rootFd } = this.#parts;
    if (planned.length === 0) return [];
    check(kernel.sys.syncfs(rootFd), "syncfs");
    const replacements: Replacement[] = [];
    const refused = planned.flatMap(({ copy, names }) => {
      const outcome = this.#attempt(copy.inode.object, names, () => {
        replacements.push({ copy, names, state: this.#copier.readBack(copy) });
        return undefined;
      });
      if (outcome === undefined) return [];
      this.#copier.drop(copy.name);
      return [outcome];
    });
    return replacements.length === 0 ? refused : [...refused, ...this.#replacing.run(replacements)];
  }
}
