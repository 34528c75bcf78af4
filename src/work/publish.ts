import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
} from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { AttributeSetter } from "../tree/apply.ts";
import { readAttributes, sameAttributes, withoutXattrs, XattrCalls } from "../tree/attributes.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import { TimesBuffer } from "../tree/times.ts";
import { asHeld, type TargetTraits } from "../tree/traits.ts";
import { readActions, type Action } from "./actions.ts";
import { openContainer } from "./container.ts";
import { EntryFailure, entryFailure, fromSource, onSource, onTarget } from "./errors.ts";
import type { Failure, LateMode } from "./messages.ts";
import { stagedUpdateName } from "./place.ts";
import { Remover, unlockDirectory, type DeleteRules } from "./doomed.ts";

export type PublishRules = DeleteRules & { delete: boolean; xattrs: boolean };
type Roots = { sourceFd: number; targetFd: number; stagingFd: number };
export type Published = { changes: number; deletedNames: number; failures: Failure[]; deletesHeld: number };

/**
 * Gives sealed work its real names, on the main thread. Every name that something stood under is exchanged, and
 * what comes out is looked at before it goes: it must be the inode that was compared (docs/design.md, "Updating").
 */
export class Publisher {
  readonly #kernel: Kernel;
  readonly #roots: Roots;
  readonly #traits: TargetTraits;
  readonly #rules: PublishRules;
  readonly #xattrs: XattrCalls;
  readonly #setter: AttributeSetter;
  readonly #stat: Stat;
  readonly #remover: Remover;

  constructor(kernel: Kernel, roots: Roots, traits: TargetTraits, rules: PublishRules) {
    this.#kernel = kernel;
    this.#roots = roots;
    this.#traits = traits;
    this.#rules = rules;
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
    this.#setter = new AttributeSetter(kernel.sys, kernel.scratch, this.#xattrs, new TimesBuffer(kernel.sys));
    this.#stat = new Stat(kernel.sys);
    this.#remover = new Remover(kernel, roots.stagingFd, rules);
  }

  /**
   * Renames a staged snapshot to its place. A file that stands in the way gives way, a directory does not: it was
   * not there when the run began. @throws EntryFailure, RunFailure
   */
  snapshot(staged: Buffer, path: Buffer): void {
    const { sys, scratch } = this.#kernel;
    const { stagingFd } = this.#roots;
    const { parent, name } = parentAndName(path);
    const parentFd = openContainer(this.#kernel, this.#roots, parent);
    try {
      const rename = (flags: number): number =>
        sys.renameat2(stagingFd, scratch.at(staged), parentFd, scratch.at(name), flags);
      const result = rename(RENAME_NOREPLACE);
      if (result !== -errno.EEXIST) {
        onTarget(result, "renameat2");
        return;
      }
      onTarget(sys.statx(parentFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
      if (this.#stat.isDirectory) onTarget(result, "renameat2");
      const { ino } = this.#stat;
      onTarget(rename(RENAME_EXCHANGE), "renameat2");
      onTarget(sys.statx(stagingFd, scratch.at(staged), AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
      if (this.#stat.ino !== ino || this.#stat.isDirectory) {
        onTarget(rename(RENAME_EXCHANGE), "renameat2");
        throw new EntryFailure("CHANGED", "someone changed it on the target meanwhile; it was left alone");
      }
      removeTree(this.#kernel, stagingFd, staged);
    } finally {
      sys.close(parentFd);
    }
  }

  /** Sets modes that would have locked this user out while the tree was built. */
  lateModes(modes: readonly LateMode[]): void {
    const { sys } = this.#kernel;
    // Deepest first: a parent without its x bit would hide the rest.
    for (const { path, mode } of [...modes].sort((a, b) => b.path.length - a.path.length)) {
      const fd = openBelow(this.#kernel, this.#roots.targetFd, path);
      if (fd < 0) continue;
      sys.fchmod(fd, mode);
      sys.close(fd);
    }
  }

  /** Carries out the actions of an update: names first, then the metadata of the directories they are in. */
  actions(actionsFd: number): Published {
    const published: Published = { changes: 0, deletedNames: 0, failures: [], deletesHeld: 0 };
    const before = { deletedNames: this.#remover.deletedNames, held: this.#remover.held };
    const touched = new Map<string, Buffer>();
    for (const action of readActions(this.#kernel, actionsFd)) {
      published.changes++;
      if (touched.size < 1024 && action.type !== "attributes")
        touched.set(action.directory.toString("latin1"), action.directory);
      this.#attempt(published, action, () => {
        this.#carryOut(action);
      });
      if (touched.size >= 1024) this.#finishAll(touched, published);
    }
    this.#finishAll(touched, published);
    for (const action of readActions(this.#kernel, actionsFd)) {
      if (action.type === "attributes")
        this.#attempt(published, action, () => {
          this.directory(action.directory);
        });
    }
    published.deletedNames = this.#remover.deletedNames - before.deletedNames;
    published.deletesHeld = this.#remover.held - before.held;
    return published;
  }

  #finishAll(touched: Map<string, Buffer>, published: Published): void {
    for (const directory of touched.values()) {
      this.#attempt(published, { type: "attributes", unit: 0, directory }, () => {
        this.directory(directory);
      });
    }
    touched.clear();
  }

  #attempt(published: Published, action: Action, work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      published.failures.push({ path: pathOfAction(action), code, message });
    }
  }

  #carryOut(action: Action): void {
    if (action.type === "attributes") return;
    const { sys } = this.#kernel;
    const dirFd = onTarget(openBelow(this.#kernel, this.#roots.targetFd, action.directory), "openat");
    try {
      if (!this.#traits.isRoot) sys.fchmod(dirFd, this.#modeOf(dirFd) | 0o700);
      if (action.type === "put") this.#put(dirFd, action);
      else this.#remover.remove({ dirFd, name: action.name, path: pathOfAction(action) });
    } finally {
      sys.close(dirFd);
    }
  }

  #modeOf(fd: number): number {
    check(this.#kernel.sys.statx(fd, this.#kernel.scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
    return this.#stat.mode & 0o7777;
  }

  #put(dirFd: number, action: Action & { type: "put" }): void {
    const { sys, scratch } = this.#kernel;
    const { stagingFd } = this.#roots;
    const staged = Buffer.from(stagedUpdateName(action.serial));
    const rename = (flags: number): number =>
      sys.renameat2(stagingFd, scratch.at(staged), dirFd, scratch.at(action.name), flags);
    if (action.oldIno === 0n) {
      onTarget(rename(RENAME_NOREPLACE), "renameat2");
      return;
    }
    if (this.#remover.holdsProtected({ dirFd, name: action.name, path: pathOfAction(action) })) {
      removeTree(this.#kernel, stagingFd, staged);
      throw new EntryFailure(
        "EISDIR",
        "a directory with names that the filters protect stands in its way on the target",
      );
    }
    let exchanged = rename(RENAME_EXCHANGE);
    if (exchanged === -errno.EACCES && unlockDirectory(this.#kernel, dirFd, action.name))
      exchanged = rename(RENAME_EXCHANGE);
    onTarget(exchanged, "renameat2");
    onTarget(sys.statx(stagingFd, scratch.at(staged), AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
    const isExpected = this.#stat.ino === action.oldIno;
    const isLoss = this.#stat.isDirectory && !this.#rules.delete && !this.#isEmpty(stagingFd, staged);
    if (!isExpected || isLoss) {
      onTarget(rename(RENAME_EXCHANGE), "renameat2");
      removeTree(this.#kernel, stagingFd, staged);
      throw isExpected
        ? new EntryFailure(
            "EISDIR",
            "a directory that is not empty stands in its way on the target; --delete removes it",
          )
        : new EntryFailure("CHANGED", "someone changed it on the target meanwhile; it was left alone");
    }
    removeTree(this.#kernel, stagingFd, staged);
  }

  #isEmpty(dirFd: number, name: Buffer): boolean {
    const fd = openBelow(this.#kernel, dirFd, name);
    if (fd < 0) return false;
    const listing = new Listing(this.#kernel.sys);
    const isEmpty = listing.read(fd) >= 0 && !listing.next();
    this.#kernel.sys.close(fd);
    return isEmpty;
  }

  /** Gives a published directory the source's metadata where it differs. true: it did. @throws EntryFailure */
  directory(path: Buffer): boolean {
    const { sys, scratch } = this.#kernel;
    const sourceFd = onSource(openBelow(this.#kernel, this.#roots.sourceFd, path), "openat");
    const targetFd = openBelow(this.#kernel, this.#roots.targetFd, path);
    try {
      onTarget(targetFd, "openat");
      onSource(sys.statx(sourceFd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
      const read = fromSource(() => readAttributes(this.#stat, this.#xattrs, { fd: sourceFd }));
      const wanted = asHeld(this.#rules.xattrs ? read : withoutXattrs(read), this.#traits).attributes;
      check(sys.statx(targetFd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
      if (sameAttributes(wanted, readAttributes(this.#stat, this.#xattrs, { fd: targetFd }))) return false;
      this.#setter.removeOtherXattrs({ fd: targetFd }, wanted);
      this.#setter.toDescriptor(targetFd, wanted, undefined);
      return true;
    } finally {
      sys.close(sourceFd);
      if (targetFd >= 0) sys.close(targetFd);
    }
  }
}

function pathOfAction(action: Action): Buffer {
  const name = action.type === "attributes" ? Buffer.alloc(0) : action.name;
  const slash = Buffer.from(action.directory.length > 0 && name.length > 0 ? "/" : "");
  return Buffer.concat([action.directory, slash, name]);
}

/** A file for the actions of one unit, without a name from the start: nothing is left when the run dies. @throws SysError */
export function openActions({ sys, scratch }: Kernel, dirFd: number, unit: number): number {
  const name = Buffer.from(`actions.${String(unit)}`);
  sys.unlinkat(dirFd, scratch.at(name), 0);
  const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND;
  const fd = check(sys.openat(dirFd, scratch.at(name), flags, 0o600), "openat", name);
  check(sys.unlinkat(dirFd, scratch.at(name), 0), "unlinkat", name);
  return fd;
}
