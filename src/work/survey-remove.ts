import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { countTree, isEmptyDirectory } from "../tree/count.ts";
import { Listing } from "../tree/listing.ts";
import { STORE_NAME } from "../../store/store.ts";
import { Remover, type DeleteRules, type Doomed, type Obstacle } from "./doomed.ts";
import { onTarget } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import type { Thread } from "./thread.ts";

const STORE_BYTES = Buffer.from(STORE_NAME);
const LOST_AND_FOUND = Buffer.from("lost+found");

/** Counts what --delete would remove, around what the filters protect, and what --max-delete would hold back. */
export class SurveyRemover {
  readonly #thread: Thread;
  readonly #maxDelete: number;
  /** Asked what it would find in the way; it counts, and removes nothing. */
  readonly #remover: Remover;

  constructor(thread: Thread, rules: DeleteRules) {
    this.#thread = thread;
    this.#maxDelete = rules.maxDelete ?? Infinity;
    this.#remover = new Remover(thread, -1, rules);
  }

  get held(): number {
    return this.#remover.held;
  }

  /**
   * Of one published directory: the names that the source does not have and no filter protects.
   * @returns how many there are.
   */
  survey(frame: Frame): number {
    const thread = this.#thread;
    let removals = 0;
    for (const name of this.#namesIn(frame.targetFd)) {
      thread.attempt(frame, name, () => {
        if (this.#isKept(frame, name)) return;
        removals++;
        this.#remove({ dirFd: frame.targetFd, name, path: pathOf(frame, name) }, frame.unit);
      });
    }
    return removals;
  }

  /** The target's directory of this name gives way to something else, unless it cannot. */
  replace(frame: Frame, name: Buffer, mayDelete: boolean): Obstacle | undefined {
    const thread = this.#thread;
    const obstacle = this.#remover.obstacle({ dirFd: frame.targetFd, name, path: pathOf(frame, name) });
    if (obstacle !== undefined) return obstacle;
    if (!mayDelete) return isEmptyDirectory(thread, frame.targetFd, name) ? undefined : "full";
    const names = countTree(thread, frame.targetFd, name);
    this.#count(names);
    return undefined;
  }

  #count(names: number): void {
    this.#remover.deletedNames += names;
    this.#thread.counters.deletedNames += names;
  }

  #remove(doomed: Doomed, unit: number): void {
    const thread = this.#thread;
    if (this.#remover.holdsProtected(doomed)) {
      this.#removeAround(doomed, unit);
      return;
    }
    this.#remover.refuseMounts(doomed);
    const names = countTree(thread, doomed.dirFd, doomed.name);
    if (this.#remover.deletedNames + names > this.#maxDelete) {
      this.#remover.held++;
      return;
    }
    thread.tellPath(unit, doomed.path, "removed");
    this.#count(names);
  }

  #removeAround({ dirFd, name, path }: Doomed, unit: number): void {
    const { sys, scratch, filter } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd = onTarget(sys.openat(dirFd, scratch.at(name), flags, 0), "openat");
    try {
      for (const child of this.#namesIn(fd)) {
        const childPath = Buffer.concat([path, Buffer.from("/"), child]);
        if (filter?.protects(childPath, this.#kindOf(fd, child), "doomed") === true) continue;
        this.#remove({ dirFd: fd, name: child, path: childPath }, unit);
      }
    } finally {
      sys.close(fd);
    }
  }

  #namesIn(fd: number): Buffer[] {
    const { sys } = this.#thread;
    const listing = new Listing(sys);
    const names: Buffer[] = [];
    onTarget(sys.lseek(fd, 0, 0), "lseek");
    for (;;) {
      const got = listing.read(fd);
      // The directory that stands for one that is not there yet is gone itself.
      if (got === 0 || got === -errno.ENOENT) return names;
      onTarget(got, "getdents64");
      while (listing.next()) names.push(listing.copyName());
    }
  }

  #isKept(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, stat, filter } = this.#thread;
    const isTop = frame.name.length === 0 && frame.parent === undefined;
    if (isTop && (name.equals(STORE_BYTES) || name.equals(LOST_AND_FOUND))) return true;
    const result = sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
    const path = pathOf(frame, name);
    if (result < 0 && result !== -errno.ENOENT) return true;
    if (result === 0 && (filter?.takes(path, stat.isDirectory ? "directory" : "other") ?? true)) return true;
    return filter?.protects(path, this.#kindOf(frame.targetFd, name)) === true;
  }

  #kindOf(dirFd: number, name: Buffer): "directory" | "other" {
    const { sys, scratch, targetStat } = this.#thread;
    const result = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, targetStat.address);
    return result === 0 && targetStat.isDirectory ? "directory" : "other";
  }
}
