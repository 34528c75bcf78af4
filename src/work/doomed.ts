import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_PATH, RENAME_NOREPLACE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { filterFrom, type EntryKind, type Filter, type FilterRules } from "../tree/filter.ts";
import { Listing } from "../tree/listing.ts";
import { joined } from "../tree/path.ts";
import { closing, hasMountsUnder } from "../tree/reach.ts";
import { removeTree } from "../tree/remove.ts";
import { EntryFailure, onTarget } from "./errors.ts";
import type { Seen } from "./seen.ts";
import { doomedName, isStranger } from "./staged-name.ts";

/**
 * What is to be removed: `path` is where `name` in `dirFd` lies, as the filters see it; `seen` what it was when
 * that was decided, where that was a while ago.
 */
export type Doomed = { dirFd: number; name: Buffer; path: Buffer; seen?: Seen };
export type DeleteRules = {
  maxDelete: number | undefined;
  filter?: FilterRules | undefined;
  /** Is told of each name that went, and not of those below it. */
  onRemoved?: (path: Buffer) => void;
};
type Survey = { names: number; holdsProtected: boolean };

/**
 * Removes what the source no longer has, within --max-delete, and without what the filters protect: a protected name
 * keeps every directory above it, as rsync's "cannot delete non-empty directory".
 */
export class Remover {
  readonly #kernel: Kernel;
  readonly #stagingFd: number;
  readonly #filter: Filter | undefined;
  readonly #maxDelete: number;
  readonly #onRemoved: (path: Buffer) => void;
  #serial = 0;
  deletedNames = 0;
  /** Removals that --max-delete did not allow. */
  held = 0;

  constructor(kernel: Kernel, stagingFd: number, rules: DeleteRules) {
    this.#kernel = kernel;
    this.#stagingFd = stagingFd;
    this.#filter = rules.filter === undefined ? undefined : filterFrom(rules.filter);
    this.#maxDelete = rules.maxDelete ?? Infinity;
    this.#onRemoved = rules.onRemoved ?? (() => undefined);
  }

  /** @throws SysError, EntryFailure, RunFailure */
  remove(doomed: Doomed): void {
    const { names, holdsProtected } = this.#survey(doomed);
    if (holdsProtected) {
      this.#removeAround(doomed);
    } else if (this.deletedNames + names > this.#maxDelete) {
      this.held++;
    } else {
      this.#takeAway(doomed);
    }
  }

  /** Whether the filters protect something below the name, so that it has to stay. */
  holdsProtected(doomed: Doomed): boolean {
    return this.#filter !== undefined && this.#survey(doomed).holdsProtected;
  }

  /** Why something else cannot take the place of this directory; undefined where it can. */
  obstacle(doomed: Doomed): Obstacle | undefined {
    if (hasMountsUnder(this.#kernel, doomed.dirFd, doomed.name)) return "mounted";
    const { names, holdsProtected } = this.#survey(doomed);
    if (holdsProtected) return "protected";
    if (this.deletedNames + names <= this.#maxDelete) return undefined;
    this.held++;
    return "held";
  }

  #removeAround(doomed: Doomed): void {
    const dirFd = openIfDirectory(this.#kernel, doomed);
    if (dirFd === undefined) return;
    closing(this.#kernel, dirFd, () => {
      for (const child of this.#children(dirFd, doomed.path)) {
        if (!this.#isProtected(child)) this.remove({ ...child, dirFd });
      }
    });
  }

  #isProtected({ path, kind }: Child): boolean {
    return this.#filter?.protects(path, kind, "doomed") === true;
  }

  /** Looks below only where someone has to know. */
  #survey(doomed: Doomed): Survey {
    const survey = { names: 1, holdsProtected: false };
    if (this.#filter !== undefined || this.#maxDelete !== Infinity) this.#count(doomed, survey);
    return survey;
  }

  /** Not by recursion: a tree may be deeper than the stack. One descriptor is open for each level. */
  #count(doomed: Doomed, survey: Survey): void {
    const levels: Level[] = [];
    try {
      this.#enter(levels, doomed, survey);
      for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
        const next = survey.holdsProtected ? undefined : level.directories.pop();
        if (next !== undefined) this.#enter(levels, { ...next, dirFd: level.fd }, survey);
        else this.#kernel.sys.close((levels.pop() as Level).fd);
      }
    } finally {
      for (const { fd } of levels) this.#kernel.sys.close(fd);
    }
  }

  #enter(levels: Level[], doomed: Doomed, survey: Survey): void {
    const fd = openIfDirectory(this.#kernel, doomed);
    if (fd === undefined) return;
    const directories: Child[] = [];
    levels.push({ fd, directories });
    for (const child of this.#children(fd, doomed.path)) {
      survey.names++;
      survey.holdsProtected ||= this.#isProtected(child);
      if (child.kind === "directory") directories.push(child);
    }
  }

  #children(fd: number, path: Buffer): Child[] {
    const { sys, scratch } = this.#kernel;
    const listing = new Listing(sys);
    const stat = new Stat(sys);
    const names: Buffer[] = [];
    while (check(listing.read(fd), "getdents64") > 0) while (listing.next()) names.push(listing.copyName());
    return names.map((name) => {
      const result = sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
      const kind = result === 0 && stat.isDirectory ? "directory" : "other";
      return { name, path: joined(path, name), kind };
    });
  }

  /**
   * Out of sight by one rename, then taken apart: a crash leaves nothing half deleted in a snapshot. What turns out to be
   * another inode, or cannot be taken apart, comes back.
   */
  #takeAway(doomed: Doomed): void {
    this.refuseMounts(doomed);
    const staged = this.#stage(doomed);
    if (staged === undefined) return;
    if (isStranger(this.#kernel, this.#stagingFd, staged)) {
      this.#putBack(staged, doomed);
      throw new EntryFailure("CHANGED", "someone changed it on the target meanwhile; it was left alone");
    }
    try {
      this.deletedNames += removeTree(this.#kernel, this.#stagingFd, staged);
    } catch (error) {
      this.#putBack(staged, doomed);
      throw error;
    }
    this.#onRemoved(doomed.path);
  }

  /** @throws EntryFailure where something is mounted below it */
  refuseMounts({ dirFd, name }: Doomed): void {
    if (hasMountsUnder(this.#kernel, dirFd, name))
      throw new EntryFailure("EBUSY", "something is mounted below it on the target");
  }

  /** @returns its name in staging; undefined where it is gone already */
  #stage({ dirFd, name, seen }: Doomed): Buffer | undefined {
    const { sys, scratch } = this.#kernel;
    for (;;) {
      const staged = doomedName(this.#serial++, seen);
      const rename = (): number =>
        sys.renameat2(dirFd, scratch.at(name), this.#stagingFd, scratch.at(staged), RENAME_NOREPLACE);
      let result = rename();
      if (result === -errno.EACCES && unlockDirectory(this.#kernel, dirFd, name)) result = rename();
      if (result === -errno.ENOENT) return undefined;
      // What an earlier run could not remove.
      if (result === -errno.EEXIST) continue;
      onTarget(result, "renameat2");
      return staged;
    }
  }

  /** Where its place is taken by now it stays in staging, where the next run finds it. */
  #putBack(staged: Buffer, { dirFd, name }: Doomed): void {
    const { sys, scratch } = this.#kernel;
    sys.renameat2(this.#stagingFd, scratch.at(staged), dirFd, scratch.at(name), RENAME_NOREPLACE);
  }
}

/** "held": it holds more names than --max-delete leaves. "full": it holds names, and without --delete nothing goes. */
export type Obstacle = "mounted" | "protected" | "held" | "full";

/** What is said of a name whose place a directory keeps. */
export const obstacleTexts: Readonly<Record<Obstacle, string>> = {
  mounted: "a directory that something is mounted below stands in its way on the target",
  protected: "a directory with names that the filters protect stands in its way on the target",
  full: "a directory that is not empty stands in its way on the target; --delete removes it",
  held: "a directory with more names than --max-delete allows stands in its way on the target",
};

/** A directory that is being counted: its descriptor, and the directories in it that are still to be counted. */
type Level = { fd: number; directories: Child[] };
type Child = { name: Buffer; path: Buffer; kind: EntryKind };

function openIfDirectory({ sys, scratch }: Kernel, { dirFd, name }: Doomed): number | undefined {
  const fd = sys.openat(dirFd, scratch.at(name), sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd === -errno.ENOTDIR || fd === -errno.ELOOP || fd === -errno.ENOENT) return undefined;
  return onTarget(fd, "openat");
}

/**
 * A directory that moves to another parent must be writable itself, because its ".." changes. true: its owner may
 * write to it now.
 */
export function unlockDirectory({ sys, scratch }: Kernel, dirFd: number, name: Buffer): boolean {
  const fd = sys.openat(dirFd, scratch.at(name), O_PATH | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return false;
  const result = sys.fchmodat(AT_FDCWD, scratch.text(`/proc/self/fd/${String(fd)}`), 0o700);
  sys.close(fd);
  return result === 0;
}
