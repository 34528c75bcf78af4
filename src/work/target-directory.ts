import { AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, S_IFDIR } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { accessBetween } from "../tree/access.ts";
import { readAttributes, sameAttributes, type Attributes } from "../tree/attributes.ts";
import { Listing } from "../tree/listing.ts";
import { keepingXattrs } from "../tree/without-xattrs.ts";
import { STORE_NAME } from "../../store/store.ts";
import { appendAction } from "./actions.ts";
import { beyond, isOnTarget } from "./target-path.ts";
import { unlockDirectory } from "./doomed.ts";
import { fromSource, onTarget } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import type { WalkMode } from "./messages.ts";
import { sameName, type Placer } from "./place.ts";
import { seenIn } from "./seen.ts";
import { updateName } from "./staged-name.ts";
import { heldOf, heldOfUnreadable } from "./subject.ts";
import type { Thread } from "./thread.ts";

/** What most directories have, so that most need no chmod; staged ones lie where no one else can reach. */
const NEW_DIRECTORY_MODE = 0o755;
const STORE_BYTES = Buffer.from(STORE_NAME);
const LOST_AND_FOUND = Buffer.from("lost+found");

/** The target's side of a directory that is being walked: making, opening, clearing and dressing it. */
export class TargetDirectory {
  readonly #thread: Thread;
  readonly #placer: Placer;
  #hasUncompared = false;

  constructor(thread: Thread, placer: Placer) {
    this.#thread = thread;
    this.#placer = placer;
  }

  begin(): void {
    this.#hasUncompared = false;
  }

  /** Since `begin` something could not be removed that an earlier run staged and this one could not compare. */
  get hasUncompared(): boolean {
    return this.#hasUncompared;
  }

  /** An earlier run began this directory: what it may have set must not get in the way of making entries. */
  prepareRefill(frame: Frame): void {
    const { sys, scratch } = this.#thread;
    sys.fremovexattr(frame.targetFd, scratch.text("system.posix_acl_default"));
    if (!this.#thread.traits.isRoot) onTarget(sys.fchmod(frame.targetFd, 0o700), "fchmod");
  }

  makeSubdirectories(frame: Frame): void {
    const { sys, scratch } = this.#thread;
    frame.subdirectories = frame.subdirectories.filter((name) =>
      this.#thread.attempt(frame, name, () => {
        let made = sys.mkdirat(frame.targetFd, scratch.at(name), NEW_DIRECTORY_MODE);
        if (made === -errno.EEXIST && frame.mode === "fill") throw sameName();
        if (made === -errno.EEXIST && !this.#isTargetDirectory(frame, name)) {
          this.#clear(frame, name);
          made = sys.mkdirat(frame.targetFd, scratch.at(name), NEW_DIRECTORY_MODE);
        }
        if (made !== -errno.EEXIST) onTarget(made, "mkdirat");
        if (made === 0) frame.fresh?.add(name.toString("latin1"));
        this.#thread.tell(frame, name, "directory");
      }),
    );
  }

  #clear(frame: Frame, name: Buffer): void {
    try {
      this.#placer.clear(frame, name);
    } catch (error) {
      this.#hasUncompared = true;
      throw error;
    }
  }

  #isTargetDirectory(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, targetStat } = this.#thread;
    const result = sys.statx(frame.targetFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, targetStat.address);
    return result === 0 && targetStat.isDirectory;
  }

  /** Removes a staged name that cannot be compared with the source: an earlier run may have left it unfinished. */
  clear(frame: Frame, name: Buffer): void {
    this.#thread.attempt(frame, name, () => {
      this.#clear(frame, name);
    });
  }

  clearAll(frame: Frame): void {
    this.#eachStaged(frame, (name) => {
      this.#clear(frame, name);
    });
  }

  /** What an earlier, unfinished run staged and the source does not have (any more). */
  removeStale(frame: Frame): void {
    this.#eachStaged(frame, (name) => {
      if (!this.#isInSource(frame, name)) this.#clear(frame, name);
    });
  }

  #eachStaged(frame: Frame, visit: (name: Buffer) => void): void {
    const isListed = this.#thread.attempt(frame, undefined, () => {
      this.#eachTargetName(frame, visit);
    });
    if (!isListed) this.#hasUncompared = true;
  }

  planRemovals(frame: Frame): void {
    const { filter, sys } = this.#thread;
    this.#eachTargetName(frame, (name) => {
      const isTop = frame.name.length === 0 && frame.parent === undefined;
      // Of a target that is a whole filesystem: fsck wants it.
      if (isTop && (name.equals(STORE_BYTES) || name.equals(LOST_AND_FOUND))) return;
      if (this.#isInSource(frame, name)) return;
      const kind = this.#isTargetDirectory(frame, name) ? "directory" : "other";
      if (filter?.protects(pathOf(frame, name), kind) === true) return;
      const seen = seenIn(this.#thread.targetStat, "any");
      appendAction(sys, frame.actionsFd, {
        type: "remove",
        unit: frame.unit,
        directory: pathOf(frame),
        name,
        seen,
      });
    });
  }

  #eachTargetName(frame: Frame, visit: (name: Buffer) => void): void {
    const listing = new Listing(this.#thread.sys);
    onTarget(this.#thread.sys.lseek(frame.targetFd, 0, 0), "lseek");
    const names: Buffer[] = [];
    while (onTarget(listing.read(frame.targetFd), "getdents64") > 0)
      while (listing.next()) names.push(listing.copyName());
    for (const name of names)
      this.#thread.attempt(frame, name, () => {
        visit(name);
      });
  }

  #isInSource(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, stat } = this.#thread;
    const result = sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
    if (result === -errno.ENOENT) return false;
    if (result < 0) return true;
    const { filter } = this.#thread;
    if (filter === undefined) return true;
    return filter.takes(pathOf(frame, name), stat.isDirectory ? "directory" : "other");
  }

  /**
   * Gives the directory its metadata; of a published one, plans that where it differs. A new one whose metadata cannot
   * be had is for this user alone: it will be published with what could be read (P10).
   */
  finish(frame: Frame): void {
    try {
      this.#dress(frame);
    } catch (error) {
      if (!this.#placer.isPublished(frame)) this.#thread.sys.fchmod(frame.targetFd, 0o700);
      throw error;
    }
  }

  #dress(frame: Frame): void {
    const wanted = this.#sourceAttributes(frame);
    if (this.#placer.isPublished(frame)) {
      const { targetStat, xattrs, sys, rules } = this.#thread;
      onTarget(this.#statTarget(frame.targetFd), "statx");
      const actual = readAttributes(targetStat, xattrs, { fd: frame.targetFd });
      const due = rules.xattrs ? wanted : keepingXattrs(wanted, actual);
      if (sameAttributes(due, actual) || this.#isRest(actual, due)) return;
      const action = { unit: frame.unit, directory: pathOf(frame) };
      if (accessBetween(actual, due) !== undefined)
        appendAction(sys, frame.actionsFd, { type: "tighten", ...action });
      appendAction(sys, frame.actionsFd, { type: "attributes", ...action });
      return;
    }
    const { setter, traits, counters } = this.#thread;
    if (frame.mode === "refill") setter.removeOtherXattrs({ fd: frame.targetFd }, wanted);
    const locksOut = !traits.isRoot && (wanted.mode & 0o700) !== 0o700;
    const mode = locksOut ? wanted.mode | 0o700 : wanted.mode;
    const isKnown = frame.isPlain && frame.parent !== undefined;
    const created = isKnown ? { mode: NEW_DIRECTORY_MODE, uid: traits.euid, gid: traits.egid } : undefined;
    counters.lostXattrs += setter.toDescriptor(frame.targetFd, { ...wanted, mode }, created);
    if (locksOut) this.#thread.setModeLater(frame, wanted.mode);
  }

  /** Whether `actual` is what the target holds of `wanted`, some xattrs having been refused: shown by a trial. */
  #isRest(actual: Attributes, wanted: Attributes): boolean {
    if (actual.xattrs.length >= wanted.xattrs.length) return false;
    const { sys, scratch, stagingFd, control, setter, targetStat, xattrs, counters } = this.#thread;
    const name = updateName({ serial: control.nextSerial(), seen: "", newIno: 0n });
    onTarget(sys.mkdirat(stagingFd, scratch.at(name), 0o700), "mkdirat");
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd = sys.openat(stagingFd, scratch.at(name), flags, 0);
    try {
      const refused = setter.toDescriptor(onTarget(fd, "openat"), wanted, undefined);
      onTarget(this.#statTarget(fd), "statx");
      if (refused === 0 || !sameAttributes(readAttributes(targetStat, xattrs, { fd }), actual)) return false;
      counters.lostXattrs += refused;
      return true;
    } finally {
      if (fd >= 0) sys.close(fd);
      sys.unlinkat(stagingFd, scratch.at(name), AT_REMOVEDIR);
    }
  }

  #statTarget(fd: number): number {
    const { sys, scratch, targetStat } = this.#thread;
    return sys.statx(fd, scratch.empty, AT_EMPTY_PATH, targetStat.address);
  }

  #sourceAttributes({ sourceFd, metadata }: Frame): Attributes {
    const { xattrs } = this.#thread;
    const read = fromSource(() => readAttributes(metadata, xattrs, { fd: sourceFd }));
    return heldOf(this.#thread, read).attributes;
  }

  /**
   * A staged directory that cannot be filled is empty, and for this user alone: it will be published as it is, and what
   * an earlier run left in it was not compared (P2, P10).
   */
  shut(frame: Frame, name: Buffer): void {
    if (this.#placer.isPublished(frame)) return;
    const { sys, scratch } = this.#thread;
    if (frame.mode === "refill") {
      this.#clear(frame, name);
      onTarget(sys.mkdirat(frame.targetFd, scratch.at(name), 0o700), "mkdirat");
    } else onTarget(sys.fchmodat(frame.targetFd, scratch.at(name), 0o700), "fchmodat");
  }

  /** A directory that cannot be read is made, empty, with the metadata that its name tells. */
  dressUnreadable(frame: Frame, name: Buffer): void {
    const { setter, counters } = this.#thread;
    this.shut(frame, name);
    const wanted = heldOfUnreadable(this.#thread, frame.sourceFd, name);
    if (wanted !== undefined) counters.lostXattrs += setter.toName(frame.targetFd, name, S_IFDIR, wanted);
  }

  /** A directory that shut its owner out, and may not do so in the source any more; `finish` gives it its mode. */
  #unlock(frame: Frame, name: Buffer): void {
    const { targetStat } = this.#thread;
    if (!this.#isTargetDirectory(frame, name) || (targetStat.mode & 0o500) === 0o500) return;
    unlockDirectory(this.#thread, frame.targetFd, name);
  }

  open(frame: Frame, name: Buffer): { targetFd: number; mode: WalkMode } {
    const { sys, scratch, control, stagingFd } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const open = (dirFd: number, at: Buffer): number => sys.openat(dirFd, scratch.at(at), flags, 0);
    if (frame.mode === "update" && !this.#thread.traits.isRoot) this.#unlock(frame, name);
    const found = open(frame.targetFd, name);
    if (frame.mode !== "update") {
      const mode = frame.fresh?.has(name.toString("latin1")) === true ? "fill" : frame.mode;
      return { targetFd: onTarget(found, "openat"), mode };
    }
    if (found >= 0) {
      onTarget(this.#statTarget(found), "statx");
      const { targetStat, rules } = this.#thread;
      if (isOnTarget(targetStat, rules.targetDevice)) return { targetFd: found, mode: "update" };
      sys.close(found);
      throw beyond();
    }
    if (found !== -errno.ENOENT && found !== -errno.ENOTDIR && found !== -errno.ELOOP)
      onTarget(found, "openat");
    const seen = this.#placer.lookAt(frame, name) ? seenIn(this.#thread.targetStat, "empty") : "";
    const update = { serial: control.nextSerial(), seen, newIno: 0n };
    const staged = updateName(update);
    onTarget(sys.mkdirat(stagingFd, scratch.at(staged), 0o700), "mkdirat");
    const directory = pathOf(frame);
    appendAction(sys, frame.actionsFd, { type: "put", unit: frame.unit, directory, name, ...update });
    this.#thread.tell(frame, name, seen === "" ? "directory" : "replaced");
    return { targetFd: onTarget(open(stagingFd, staged), "openat"), mode: "fill" };
  }
}
