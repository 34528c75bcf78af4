import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { Stat } from "../sys/stat.ts";
import type { Compared } from "../options.ts";
import { Ref } from "../../store/store.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { EntryFailure, entryFailure } from "../work/errors.ts";
import { forgetBatchLog, writeBatchLog, type LoggedDirectory } from "../relink/batch-log.ts";
import { isState } from "../relink/inode-state.ts";
import type { Interrupted } from "../relink/interrupted.ts";
import { INO_HIGH, INO_LOW } from "../relink/layout.ts";
import { NameMender, isInStore } from "../relink/name-mender.ts";
import { joined } from "../relink/relink-thread.ts";
import { Replacer } from "../relink/replace.ts";
import { sameXattrs, XattrCalls } from "../tree/attributes.ts";
import { Candidates } from "./candidates.ts";
import { Copier, type Copy } from "./copy.ts";
import { pathOf, refOf, type DamagedInode, type Outcome } from "./damaged.ts";
import { Examiner, type Examined } from "./examine.ts";
import { logDirectories, type Replacement } from "./log-directories.ts";
import type { RecordedObjects } from "./recorded.ts";
import { nameAgain, renameObject } from "./rename.ts";

/** Wrong names that may hide one another. */
const MOST_RENAMES = 8;
const TEMPORARY = Buffer.from("relink.repair");

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
  readonly #xattrs: XattrCalls;

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
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
  }

  /** A batch of objects, each by its path; undefined for one that is sound. @throws RunFailure, SysError */
  run(objects: readonly Buffer[]): (Outcome | undefined)[] {
    const outcomes = new Map<Buffer, Outcome | undefined>();
    const planned: Planned[] = [];
    for (const object of objects) {
      const done = this.#attempt(object, [], () => this.#prepare(object, planned));
      outcomes.set(object, done);
    }
    for (const [object, outcome] of this.#replaceAll(planned)) outcomes.set(object, outcome);
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
        const names = this.#stillNames(inode, namesOf(inode.state[INO_HIGH] ?? 0, inode.state[INO_LOW] ?? 0));
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

  /** Those that lead to the inode as it was examined. */
  #stillNames({ state }: DamagedInode, names: readonly Buffer[]): readonly Buffer[] {
    const { kernel, rootFd } = this.#parts;
    const { sys, scratch } = kernel;
    return names.filter((path) => {
      const { parent, name } = parentAndName(path);
      const dirFd = openBelow(kernel, rootFd, parent);
      if (dirFd < 0) return false;
      const found = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
      sys.close(dirFd);
      return found === 0 && isState(this.#stat, state);
    });
  }

  /** Copies durable and read back; the log durable; then the objects' names; then those in the snapshots. */
  #replaceAll(planned: readonly Planned[]): Map<Buffer, Outcome> {
    const { kernel, rootFd, logFd } = this.#parts;
    const outcomes = new Map<Buffer, Outcome>();
    if (planned.length === 0) return outcomes;
    check(kernel.sys.syncfs(rootFd), "syncfs");
    const replacements = planned.flatMap(({ copy, names }): Replacement[] => {
      const found: Replacement[] = [];
      const refused = this.#attempt(copy.inode.object, names, () => {
        found.push({ copy, names, state: this.#copier.readBack(copy) });
        return undefined;
      });
      if (refused === undefined) return found;
      this.#copier.drop(copy.name);
      outcomes.set(copy.inode.object, refused);
      return [];
    });
    const directories = logDirectories(this.#parts, replacements);
    writeBatchLog(kernel, logFd, directories);
    check(kernel.sys.syncfs(rootFd), "syncfs");
    const placed = replacements.filter((each) => this.#placeObject(each, outcomes));
    this.#mend(directories, placed, outcomes);
    forgetBatchLog(kernel, logFd);
    return outcomes;
  }

  /** The copy takes the object's name, if what comes out there is the inode that was examined. */
  #placeObject({ copy, names, state }: Replacement, outcomes: Map<Buffer, Outcome>): boolean {
    const { kernel, tmpFd, objectsFd } = this.#parts;
    const { object, ref, attributes, state: victim } = copy.inode;
    const refused = this.#attempt(object, names, () => {
      const replacer = new Replacer(kernel, tmpFd, TEMPORARY);
      const hasXattrs = (fd: number): boolean => sameXattrs(this.#xattrs.read({ fd }), attributes.xattrs);
      const name = Buffer.from(new Ref(kernel.sys).setBytes(ref).text);
      const from = { dirFd: tmpFd, name: kernel.scratch.at(copy.name), state };
      replacer.replace({ dirFd: objectsFd, name, victim, hasXattrs }, from);
      return undefined;
    });
    this.#copier.drop(copy.name);
    if (refused !== undefined) outcomes.set(object, refused);
    return refused === undefined;
  }

  #mend(
    directories: readonly LoggedDirectory[],
    placed: readonly Replacement[],
    outcomes: Map<Buffer, Outcome>,
  ): void {
    const { kernel } = this.#parts;
    const good = new Set(placed.map(({ copy }) => copy.inode.ref.toString("latin1")));
    const isGood = ({ ref }: { ref: Buffer }): boolean => good.has(ref.toString("latin1"));
    const mender = new NameMender({ ...this.#parts, isGood }, TEMPORARY);
    const left = new Map<string, { path: Buffer; failure: EntryFailure }[]>();
    for (const directory of directories.filter((each) => !isInStore(each)))
      for (const { name, failure } of mender.mend(directory)) {
        const key = name.ref.toString("latin1");
        const path = joined(directory.path, name.name);
        left.set(key, [...(left.get(key) ?? []), { path, failure }]);
      }
    for (const { copy, names } of placed) {
      const { inode, from, sizeBytes } = copy;
      const mine = left.get(inode.ref.toString("latin1")) ?? [];
      const object = pathOf(new Ref(kernel.sys).setBytes(inode.ref));
      const outside = Math.max(0, inode.links - 1 - names.length);
      const [first] = mine;
      if (first === undefined)
        outcomes.set(inode.object, { type: "restored", object, from, names, outside, sizeBytes });
      else {
        const { code, message } = first.failure;
        outcomes.set(inode.object, {
          ...{ type: "unrepaired", object, code, message },
          names: mine.map(({ path }) => path),
        });
      }
    }
  }
}
