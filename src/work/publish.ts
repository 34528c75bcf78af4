import {
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  RENAME_NOREPLACE,
} from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isEmptyDirectory } from "../tree/count.ts";
import { isAtOrBelow, joined, openBelow, parentAndName } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import type { TargetTraits } from "../tree/traits.ts";
import { readActions, type Action } from "./actions.ts";
import { openContainer } from "./container.ts";
import { EntryFailure, entryFailure, onTarget } from "./errors.ts";
import type { Failure, LateMode, WalkMode } from "./messages.ts";
import { immutableText } from "./immutable.ts";
import {
  changed,
  exchange,
  exchangeAgain,
  renameStaged,
  replaceSeen,
  type SeenExchange,
} from "./exchange.ts";
import { PublishedDirectories, type SourceDirectory } from "./published-directory.ts";
import { isOf, isStill, mustBeEmpty, seenIn, type Seen } from "./seen.ts";
import { isStranger, updateName } from "./staged-name.ts";
import { Remover, obstacleTexts, unlockDirectory, type DeleteRules, type Obstacle } from "./doomed.ts";

export type PublishRules = DeleteRules & { delete: boolean; xattrs: boolean };
type Roots = { sourceFd: number; targetFd: number; stagingFd: number };
type NameAction = Action & { type: "put" | "remove" };
type PutAction = Action & { type: "put" };
export type Published = { changes: number; deletedNames: number; failures: Failure[]; deletesHeld: number };

/** Directories that are remembered as finished: of two records of one that are further apart the second costs a look. */
const FINISHED_MOST = 1024;

/**
 * Gives sealed work its real names, on the main thread. Every name that something stood under is exchanged, and
 * what comes out is looked at before it goes: it must be the inode that was compared (docs/design.md, "Updating").
 */
export class Publisher {
  readonly #kernel: Kernel;
  readonly #roots: Roots;
  readonly #rules: PublishRules;
  readonly #stat: Stat;
  readonly #directories: PublishedDirectories;
  readonly #remover: Remover;
  /** Directories that grant more than they should, and could not be changed. */
  readonly #untightened: Buffer[] = [];

  constructor(kernel: Kernel, roots: Roots, traits: TargetTraits, rules: PublishRules) {
    this.#kernel = kernel;
    this.#roots = roots;
    this.#rules = rules;
    this.#stat = new Stat(kernel.sys);
    this.#directories = new PublishedDirectories(kernel, roots, traits, rules);
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
    if (this.#isUntightened(parent)) throw untightened();
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
      const seen = seenIn(this.#stat, "empty");
      replaceSeen(this.#kernel, { stagingFd, staged, dirFd: parentFd, name, seen });
    } finally {
      sys.close(parentFd);
    }
  }

  /** Makes a container that was not there; `staged` stood for it. @throws EntryFailure, SysError */
  container(staged: Buffer, path: Buffer): void {
    this.#kernel.sys.close(openContainer(this.#kernel, this.#roots, path));
    removeTree(this.#kernel, this.#roots.stagingFd, staged);
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

  /** Before anything is put into a container that is there already. @throws EntryFailure, SysError */
  prepareContainer(path: Buffer): void {
    this.#tighten(path);
    const fd = openBelow(this.#kernel, this.#roots.targetFd, path);
    if (fd < 0) return;
    this.#directories.unlock(fd);
    this.#kernel.sys.close(fd);
  }

  /** Where it fails nothing is put into the directory or below. */
  #tighten(path: Buffer): void {
    try {
      this.#directories.tighten(path);
    } catch (error) {
      this.#untightened.push(path);
      throw error;
    }
  }

  /**
   * Carries out the actions of a unit: directories are tightened first, then come the names, then the metadata of the
   * directories they are in (P10), as those in the source have it that were walked. Of loose names that is a container,
   * which waits for the other units.
   */
  actions(actionsFd: number, mode: WalkMode, walked: SourceDirectory): Published {
    return this.#directories.within(walked, () => this.#carryOutAll(actionsFd, mode));
  }

  #carryOutAll(actionsFd: number, mode: WalkMode): Published {
    const published: Published = { changes: 0, deletedNames: 0, failures: [], deletesHeld: 0 };
    const before = { deletedNames: this.#remover.deletedNames, held: this.#remover.held };
    for (const action of readActions(this.#kernel, actionsFd)) {
      if (action.type !== "tighten") continue;
      this.#attempt(published, action, () => {
        this.#tighten(action.directory);
      });
    }
    for (const action of readActions(this.#kernel, actionsFd)) {
      if (action.type === "tighten") continue;
      published.changes++;
      if (!("name" in action)) continue;
      this.#attempt(published, action, () => {
        this.#carryOut(action);
      });
    }
    if (mode !== "loose") this.#finishDirectories(actionsFd, published);
    published.deletedNames = this.#remover.deletedNames - before.deletedNames;
    published.deletesHeld = this.#remover.held - before.held;
    return published;
  }

  /** All that an action is about: names that came and went moved the time of theirs. */
  #finishDirectories(actionsFd: number, published: Published): void {
    const finished = new Set<string>();
    for (const { directory, unit } of readActions(this.#kernel, actionsFd)) {
      const key = directory.toString("latin1");
      if (finished.has(key)) continue;
      if (finished.size >= FINISHED_MOST) finished.clear();
      finished.add(key);
      this.#attempt(published, { type: "attributes", unit, directory }, () => {
        this.#directories.finish(directory);
      });
    }
  }

  #attempt(published: Published, action: Action, work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      const why = code === "EPERM" ? this.#immutableText(action, message) : message;
      published.failures.push({ path: pathOfAction(action), code, message: why });
    }
  }

  #immutableText(action: Action, otherwise: string): string {
    const { directory } = action;
    const dirFd = openBelow(this.#kernel, this.#roots.targetFd, directory);
    if (dirFd < 0) return otherwise;
    const text = immutableText(this.#kernel, dirFd, "name" in action ? action.name : Buffer.alloc(0));
    this.#kernel.sys.close(dirFd);
    if (text !== undefined || action.type !== "remove") return text ?? otherwise;
    return `${otherwise}; lsattr -aR shows what is immutable below it`;
  }

  #carryOut(action: NameAction): void {
    const { sys } = this.#kernel;
    if (action.type === "put" && this.#isUntightened(action.directory)) {
      removeTree(this.#kernel, this.#roots.stagingFd, updateName(action));
      throw untightened();
    }
    const dirFd = onTarget(openBelow(this.#kernel, this.#roots.targetFd, action.directory), "openat");
    try {
      this.#directories.unlock(dirFd);
      if (action.type === "put") this.#put(dirFd, action);
      else this.#remover.remove({ dirFd, name: action.name, path: pathOfAction(action), seen: action.seen });
    } finally {
      sys.close(dirFd);
    }
  }

  #isUntightened(path: Buffer): boolean {
    return this.#untightened.some((above) => isAtOrBelow(path, above));
  }

  #put(dirFd: number, action: PutAction): void {
    const { sys, scratch } = this.#kernel;
    const { stagingFd } = this.#roots;
    const staged = this.#namedByBoth(action);
    const both = { stagingFd, staged, dirFd, name: action.name, seen: action.seen };
    try {
      if (this.#take(action, both) !== "exchanged") return;
    } catch (error) {
      if (error instanceof EntryFailure) removeTree(this.#kernel, stagingFd, staged);
      throw error;
    }
    onTarget(sys.statx(stagingFd, scratch.at(staged), AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
    const { isDirectory } = this.#stat;
    const names = this.#removeSeen(staged, action.seen);
    if (names === undefined) {
      exchangeAgain(this.#kernel, both);
      if (!isStranger(this.#kernel, stagingFd, staged)) removeTree(this.#kernel, stagingFd, staged);
      throw changed();
    }
    if (isDirectory && this.#rules.delete) this.#remover.deletedNames += names;
  }

  /**
   * What came out of an exchange, whose inode `#stat` describes. A process that is in a directory may fill it at any
   * moment, so that the kernel is to say whether it is empty. @returns how many names went; undefined: it is not what was seen
   */
  #removeSeen(staged: Buffer, seen: Seen): number | undefined {
    const { sys, scratch } = this.#kernel;
    const { stagingFd } = this.#roots;
    if (!isOf(this.#stat, seen)) return undefined;
    if (!mustBeEmpty(this.#stat, seen)) return removeTree(this.#kernel, stagingFd, staged);
    const removed = sys.unlinkat(stagingFd, scratch.at(staged), AT_REMOVEDIR);
    if (removed === -errno.ENOTEMPTY) return undefined;
    onTarget(removed, "unlinkat");
    return 1;
  }

  /** The next run can tell what comes out of an exchange from what went in, whenever this one dies. @returns its name */
  #namedByBoth(action: PutAction): Buffer {
    const { sys, scratch } = this.#kernel;
    const { stagingFd } = this.#roots;
    const staged = updateName(action);
    if (action.seen === "" || action.newIno !== 0n) return staged;
    onTarget(sys.statx(stagingFd, scratch.at(staged), AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
    const named = updateName({ ...action, newIno: this.#stat.ino });
    onTarget(renameStaged(this.#kernel, stagingFd, staged, named), "renameat2");
    return named;
  }

  /** Throws where the name has not been taken, and the staged entry is still what was made. */
  #take(action: NameAction, both: SeenExchange): "made" | "replaced" | "exchanged" {
    const { sys, scratch } = this.#kernel;
    const { stagingFd, staged, dirFd, name, seen } = both;
    if (seen === "") {
      const made = sys.renameat2(stagingFd, scratch.at(staged), dirFd, scratch.at(name), RENAME_NOREPLACE);
      onTarget(made, "renameat2");
      return "made";
    }
    const obstacle = this.#obstacle(dirFd, action);
    if (obstacle !== undefined) throw new EntryFailure("EISDIR", obstacleTexts[obstacle]);
    let exchanged = exchange(this.#kernel, both);
    if (exchanged === -errno.EACCES && isStill(this.#kernel, dirFd, name, seen)) {
      unlockDirectory(this.#kernel, dirFd, name);
      exchanged = exchange(this.#kernel, both);
    }
    if (exchanged === "replaced") return exchanged;
    onTarget(exchanged, "renameat2");
    return "exchanged";
  }

  #obstacle(dirFd: number, action: NameAction): Obstacle | undefined {
    const { sys, scratch } = this.#kernel;
    const { name } = action;
    const result = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    if (result < 0 || !this.#stat.isDirectory) return undefined;
    const obstacle = this.#remover.obstacle({ dirFd, name, path: pathOfAction(action) });
    if (obstacle !== undefined || this.#rules.delete || isEmptyDirectory(this.#kernel, dirFd, name))
      return obstacle;
    return "full";
  }

  /** Gives a published directory the source's metadata where it differs. @throws EntryFailure, SysError */
  directory(path: Buffer): void {
    this.#directories.finish(path);
  }
}

function untightened(): EntryFailure {
  return new EntryFailure(
    "EACCES",
    "its directory on the target grants more than the source's, and cannot be changed",
  );
}

function pathOfAction(action: Action): Buffer {
  return "name" in action ? joined(action.directory, action.name) : action.directory;
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
