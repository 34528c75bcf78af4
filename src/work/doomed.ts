import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_PATH, RENAME_NOREPLACE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { filterFrom, type EntryKind, type Filter, type FilterRules } from "../tree/filter.ts";
import { Listing } from "../tree/listing.ts";
import { removeTree } from "../tree/remove.ts";
import { onTarget } from "./errors.ts";

/** What is to be removed: `path` is where `name` in `dirFd` lies, as the filters see it. */
export type Doomed = { dirFd: number; name: Buffer; path: Buffer };
export type DeleteRules = {
  maxDelete: number | undefined;
  filter?: FilterRules | undefined;
  /** Is told of each name that went, and not of those below it. */
  onRemoved?: (path: Buffer) => void;
};
/** "protected": it holds names that the filters protect. "held": it holds more names than --max-delete leaves. */
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

  /** Whether the filters protect something below the name, so that nothing else can take its place. */
  holdsProtected(doomed: Doomed): boolean {
    return this.#filter !== undefined && this.#survey(doomed).holdsProtected;
  }

  #removeAround(doomed: Doomed): void {
    withDirectory(this.#kernel, doomed, (dirFd) => {
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

  #count(doomed: Doomed, survey: Survey): void {
    withDirectory(this.#kernel, doomed, (dirFd) => {
      for (const child of this.#children(dirFd, doomed.path)) {
        if (this.#isProtected(child)) survey.holdsProtected = true;
        if (survey.holdsProtected) return;
        survey.names++;
        if (child.kind === "directory") this.#count({ ...child, dirFd }, survey);
      }
    });
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
      return { name, path: Buffer.concat([path, Buffer.from("/"), name]), kind };
    });
  }

  /** Out of sight by one rename, then taken apart: a crash leaves nothing half deleted in a snapshot. */
  #takeAway({ dirFd, name, path }: Doomed): void {
    const { sys, scratch } = this.#kernel;
    const staged = Buffer.from(`t${String(this.#serial++)}`);
    const rename = (): number =>
      sys.renameat2(dirFd, scratch.at(name), this.#stagingFd, scratch.at(staged), RENAME_NOREPLACE);
    let result = rename();
    if (result === -errno.EACCES && unlockDirectory(this.#kernel, dirFd, name)) result = rename();
    if (result === -errno.ENOENT) return;
    onTarget(result, "renameat2");
    this.#onRemoved(path);
    this.deletedNames += removeTree(this.#kernel, this.#stagingFd, staged);
  }
}

type Child = { name: Buffer; path: Buffer; kind: EntryKind };

/** Opens the doomed directory for the length of `work`; does nothing where it is none. */
function withDirectory({ sys, scratch }: Kernel, { dirFd, name }: Doomed, work: (fd: number) => void): void {
  const fd = sys.openat(dirFd, scratch.at(name), sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd === -errno.ENOTDIR || fd === -errno.ELOOP || fd === -errno.ENOENT) return;
  onTarget(fd, "openat");
  try {
    work(fd);
  } finally {
    sys.close(fd);
  }
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
