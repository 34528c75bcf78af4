import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { readAttributes, sameAttributes, type Attributes } from "../tree/attributes.ts";
import { procPath } from "../tree/apply.ts";
import { Listing } from "../tree/listing.ts";
import { asHeld } from "../tree/traits.ts";
import { STORE_NAME } from "../../store/store.ts";
import { appendAction } from "./actions.ts";
import { EntryFailure, entryFailure, onSource, onTarget } from "./errors.ts";
import { pathOf, type Entry, type Frame } from "./frame.ts";
import type { Task, WalkMode } from "./messages.ts";
import { stagedUpdateName } from "./place.ts";
import { Settler } from "./settle.ts";
import { openSource, statOpen } from "./source-file.ts";
import type { Thread } from "./thread.ts";

/** Unknown entries gathered before they are dealt with in inode order: bounds memory in huge directories. */
const PENDING_MOST = 4096;
/** A directory younger than the run's start less this may have changed since its inodes were read. */
const YOUNG_SECONDS = 2;
const LOST_AND_FOUND = Buffer.from("lost+found");
const STORE_BYTES = Buffer.from(STORE_NAME);

/** Walks subtrees depth-first, one directory at a time, and has every name settled. */
export class Walker {
  readonly #thread: Thread;
  readonly #settler: Settler;
  readonly #listing: Listing;
  #pending: Entry[] = [];
  /** Names met in the task at hand, or the last one. */
  names = 0;

  constructor(thread: Thread) {
    this.#thread = thread;
    this.#settler = new Settler(thread);
    this.#listing = new Listing(thread.sys);
  }

  /** @throws RunFailure, Stopped: the task is not complete then. */
  run(task: Task): void {
    const stack: Frame[] = [];
    this.names = 0;
    this.#pending = [];
    try {
      stack.push(this.#firstFrame(task));
      while (stack.length > 0) this.#step(stack);
    } finally {
      for (const frame of stack) this.#close(frame);
    }
  }

  #firstFrame(task: Task): Frame {
    const { unit, mode, sourceFd, targetFd, actionsFd, path } = task;
    const frame = this.#frame({ parent: undefined, name: path, unit, mode, sourceFd, targetFd, actionsFd }, task.parentDevice);
    if (this.#thread.rules.oneFileSystem && frame.isMountRoot && task.parentDevice >= 0) this.#stayOutside(frame);
    if (task.subdirectories !== undefined) {
      frame.isListed = true;
      frame.subdirectories = task.subdirectories.map((name) => Buffer.from(name));
    }
    return frame;
  }

  /** Looks at the directory's own inode, which tells its filesystem and how far its entries may be trusted. */
  #frame(opened: Pick<Frame, "parent" | "name" | "unit" | "mode" | "sourceFd" | "targetFd" | "actionsFd">, parentDevice: number): Frame {
    const { openStat, rules } = this.#thread;
    statOpen(this.#thread, opened.sourceFd, openStat);
    const filesystem = this.#thread.filesystemOf(opened.sourceFd, openStat.device);
    const youngest = Math.max(openStat.mtimeSeconds, openStat.ctimeSeconds);
    const isOld = youngest < rules.startSeconds - YOUNG_SECONDS;
    return {
      ...opened,
      filesystem,
      isTrusted: isOld && filesystem.trustsDirentIno && !rules.hasFileMounts && !rules.verbose,
      isMountRoot: openStat.device !== parentDevice,
      isListed: false,
      subdirectories: [],
      fresh: opened.mode === "refill" ? new Set() : undefined,
    };
  }

  #step(stack: Frame[]): void {
    const frame = stack.at(-1) as Frame;
    if (!frame.isListed) {
      this.#thread.checkStop();
      this.#list(frame);
    }
    this.#giveAway(stack);
    const name = frame.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(frame, name);
    if (frame.subdirectories.length === 0) {
      stack.pop();
      this.#close(frame);
    }
    if (child !== undefined) stack.push(child);
  }

  /** An idle worker gets half of what is left at the shallowest level that has anything left. */
  #giveAway(stack: Frame[]): void {
    const { control, sys } = this.#thread;
    const frame = stack.find(({ subdirectories }) => subdirectories.length > 1);
    if (frame === undefined || !control.takeWish()) return;
    const given = frame.subdirectories.splice(0, frame.subdirectories.length >> 1);
    const task: Task = {
      type: "task",
      unit: frame.unit,
      mode: frame.mode,
      sourceFd: onSource(sys.dup(frame.sourceFd), "dup"),
      targetFd: onTarget(sys.dup(frame.targetFd), "dup"),
      actionsFd: frame.actionsFd,
      path: pathOf(frame),
      subdirectories: given,
      parentDevice: frame.filesystem.device,
    };
    this.#thread.give({ type: "given", task });
  }

  #close(frame: Frame): void {
    this.#thread.sys.close(frame.sourceFd);
    this.#thread.sys.close(frame.targetFd);
  }

  /** All entries of a directory, then the directory itself: nothing below changes its times any more. */
  #list(frame: Frame): void {
    frame.isListed = true;
    this.#thread.session.refresh();
    if (frame.mode === "refill") this.#prepareRefill(frame);
    const isComplete = this.#attempt(frame, undefined, () => { this.#readEntries(frame); });
    if (frame.mode === "fill" || frame.mode === "refill") this.#makeSubdirectories(frame);
    if (frame.mode === "refill") this.#removeStale(frame);
    if (this.#settler.placer.isPublished(frame) && isComplete && this.#thread.rules.delete) this.#planRemovals(frame);
    this.#attempt(frame, undefined, () => { this.#finish(frame); });
    this.#thread.flush(frame.unit);
  }

  /** Runs `work`; a failure of this entry is recorded, a failure of the run passes. */
  #attempt(frame: Frame, name: Buffer | undefined, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      this.#thread.fail(frame, name, entryFailure(error, "target"));
      return false;
    }
  }

  #readEntries(frame: Frame): void {
    const listing = this.#listing;
    for (;;) {
      const got = onSource(listing.read(frame.sourceFd), "getdents64");
      if (got === 0) break;
      while (listing.next()) this.#readEntry(frame);
      if (this.#pending.length >= PENDING_MOST) this.#settlePending(frame);
    }
    this.#settlePending(frame);
  }

  #readEntry(frame: Frame): void {
    const listing = this.#listing;
    const { counters, filter } = this.#thread;
    const { type, inoLow, inoHigh } = listing;
    if (filter !== undefined || frame.parent === undefined || frame.isMountRoot) {
      if (!this.#isTaken(frame, listing.copyName(), type)) return;
    }
    if (type === DT_DIR) {
      if (frame.mode !== "loose") {
        this.names++;
        counters.names++;
        counters.directories++;
        frame.subdirectories.push(listing.copyName());
      }
      return;
    }
    this.names++;
    counters.names++;
    if (frame.isTrusted && type !== DT_UNKNOWN && this.#settler.linkKnown(frame, inoLow, inoHigh, listing.nameAddress)) return;
    this.#pending.push({ name: listing.copyName(), inoLow, inoHigh });
  }

  /** The source's own top-level store is never taken, nor what the filters hide. */
  #isTaken(frame: Frame, name: Buffer, type: number): boolean {
    if (frame.parent === undefined && frame.name.length === 0 && name.equals(STORE_BYTES)) return false;
    if (frame.isMountRoot && name.equals(LOST_AND_FOUND) && this.#isEmptyDirectory(frame, name)) return false;
    const { filter } = this.#thread;
    if (filter === undefined) return true;
    return filter.takes(pathOf(frame, name), this.#isDirectory(frame, name, type) ? "directory" : "other");
  }

  /** Also where it may not be read: mkfs made it, for root alone. */
  #isEmptyDirectory(frame: Frame, name: Buffer): boolean {
    const { sys, scratch } = this.#thread;
    const fd = sys.openat(frame.sourceFd, scratch.at(name), sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return fd === -errno.EACCES;
    const listing = new Listing(sys);
    const isEmpty = listing.read(fd) >= 0 && !listing.next();
    sys.close(fd);
    return isEmpty;
  }

  #isDirectory(frame: Frame, name: Buffer, type: number): boolean {
    if (type !== DT_UNKNOWN) return type === DT_DIR;
    const { sys, scratch, stat } = this.#thread;
    return sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0 && stat.isDirectory;
  }

  /** In inode order: on spinning disks that is the order in which the data lies. */
  #settlePending(frame: Frame): void {
    const entries = this.#pending;
    this.#pending = [];
    entries.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
    for (const entry of entries) {
      this.#attempt(frame, entry.name, () => {
        if (this.#settler.settle(frame, entry) === "directory" && frame.mode !== "loose") {
          this.#thread.counters.directories++;
          frame.subdirectories.push(entry.name);
        }
      });
    }
  }

  /** An earlier run began this directory: what it may have set must not get in the way of making entries. */
  #prepareRefill(frame: Frame): void {
    const { sys, scratch } = this.#thread;
    sys.fremovexattr(frame.targetFd, scratch.text("system.posix_acl_default"));
    if (!this.#thread.traits.isRoot) onTarget(sys.fchmod(frame.targetFd, 0o700), "fchmod");
  }

  #makeSubdirectories(frame: Frame): void {
    const { sys, scratch } = this.#thread;
    frame.subdirectories = frame.subdirectories.filter((name) =>
      this.#attempt(frame, name, () => {
        let made = sys.mkdirat(frame.targetFd, scratch.at(name), 0o700);
        if (made === -errno.EEXIST && !this.#isTargetDirectory(frame, name)) {
          this.#settler.placer.clear(frame, name);
          made = sys.mkdirat(frame.targetFd, scratch.at(name), 0o700);
        }
        if (made !== -errno.EEXIST) onTarget(made, "mkdirat");
        if (made === 0) frame.fresh?.add(name.toString("latin1"));
        this.#thread.tell(frame, name, "directory");
      }),
    );
  }

  #isTargetDirectory(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, targetStat } = this.#thread;
    const result = sys.statx(frame.targetFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, targetStat.address);
    return result === 0 && targetStat.isDirectory;
  }

  /** What an earlier, unfinished run staged and the source does not have (any more). */
  #removeStale(frame: Frame): void {
    this.#eachTargetName(frame, (name) => {
      if (!this.#isInSource(frame, name)) this.#settler.placer.clear(frame, name);
    });
  }

  #planRemovals(frame: Frame): void {
    const { filter, sys } = this.#thread;
    this.#eachTargetName(frame, (name) => {
      if (frame.name.length === 0 && frame.parent === undefined && name.equals(STORE_BYTES)) return;
      if (this.#isInSource(frame, name)) return;
      const kind = this.#isTargetDirectory(frame, name) ? "directory" : "other";
      if (filter?.protects(pathOf(frame, name), kind) === true) return;
      this.#settler.placer.lookAt(frame, name);
      const oldIno = this.#thread.targetStat.ino;
      appendAction(sys, frame.actionsFd, { type: "remove", unit: frame.unit, directory: pathOf(frame), name, oldIno });
    });
  }

  #eachTargetName(frame: Frame, visit: (name: Buffer) => void): void {
    const listing = new Listing(this.#thread.sys);
    onTarget(this.#thread.sys.lseek(frame.targetFd, 0, 0), "lseek");
    const names: Buffer[] = [];
    while (onTarget(listing.read(frame.targetFd), "getdents64") > 0) while (listing.next()) names.push(listing.copyName());
    for (const name of names) this.#attempt(frame, name, () => { visit(name); });
  }

  #isInSource(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, stat } = this.#thread;
    const result = sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
    if (result === -errno.ENOENT) return false;
    if (result < 0) return true;
    const { filter } = this.#thread;
    if (frame.mode !== "refill" || filter === undefined) return true;
    return filter.takes(pathOf(frame, name), stat.isDirectory ? "directory" : "other");
  }

  /** Gives the directory its metadata; of a published one, plans that where it differs. */
  #finish(frame: Frame): void {
    const wanted = this.#sourceAttributes(frame.sourceFd);
    if (this.#settler.placer.isPublished(frame)) {
      const { targetStat, xattrs, sys } = this.#thread;
      onTarget(this.#statTarget(frame.targetFd), "statx");
      const actual = readAttributes(targetStat, xattrs, { fd: frame.targetFd });
      if (!sameAttributes(wanted, actual)) {
        appendAction(sys, frame.actionsFd, { type: "attributes", unit: frame.unit, directory: pathOf(frame) });
      }
      return;
    }
    const { setter, traits, counters } = this.#thread;
    if (frame.mode === "refill") setter.removeOtherXattrs({ fd: frame.targetFd }, wanted);
    const locksOut = !traits.isRoot && (wanted.mode & 0o700) !== 0o700;
    if (locksOut) this.#thread.setModeLater(frame, wanted.mode);
    const mode = locksOut ? wanted.mode | 0o700 : wanted.mode;
    counters.lostXattrs += setter.toDescriptor(frame.targetFd, { ...wanted, mode }, undefined);
  }

  #statTarget(fd: number): number {
    const { sys, scratch, targetStat } = this.#thread;
    return sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, targetStat.address);
  }

  #sourceAttributes(fd: number): Attributes {
    const { openStat, xattrs, rules, traits, counters } = this.#thread;
    statOpen(this.#thread, fd, openStat);
    const read = readAttributes(openStat, xattrs, { fd });
    const held = asHeld(rules.xattrs ? read : { ...read, xattrs: [] }, traits);
    if (held.lostOwner) counters.lostOwners++;
    counters.lostXattrs += held.lostXattrs;
    return held.attributes;
  }

  /** Opens both ends of a subdirectory; undefined where it cannot be entered (and that is recorded). */
  #descend(frame: Frame, name: Buffer): Frame | undefined {
    const { sys } = this.#thread;
    let sourceFd = -1;
    let child: Frame | undefined;
    this.#attempt(frame, name, () => {
      sourceFd = this.#openSourceDirectory(frame, name);
      const target = this.#openTargetDirectory(frame, name);
      const opened = { parent: frame, name, unit: frame.unit, sourceFd, actionsFd: frame.actionsFd, ...target };
      child = this.#frame(opened, frame.filesystem.device);
      if (this.#thread.rules.oneFileSystem && child.isMountRoot) this.#stayOutside(child);
    });
    if (child === undefined && sourceFd >= 0) sys.close(sourceFd);
    return child;
  }

  /** --one-file-system: the mount point itself is made, with what can be seen of it, and left empty. */
  #stayOutside(child: Frame): void {
    this.#finish(child);
    child.isListed = true;
  }

  #openSourceDirectory(frame: Frame, name: Buffer): number {
    try {
      return openSource(this.#thread, frame.sourceFd, name, this.#thread.sys.O_DIRECTORY);
    } catch (error) {
      if (error instanceof EntryFailure && frame.mode !== "update") this.#dressUnreadable(frame, name);
      throw error;
    }
  }

  /** A directory that cannot be read is made, empty, with the metadata that its name tells. */
  #dressUnreadable(frame: Frame, name: Buffer): void {
    const { sys, scratch, stat, xattrs, setter, traits } = this.#thread;
    if (sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0 || !stat.isDirectory) return;
    const wanted = asHeld(readAttributes(stat, xattrs, { path: procPath(frame.sourceFd, name) }), traits).attributes;
    setter.toName(frame.targetFd, name, stat.type, wanted);
  }

  #openTargetDirectory(frame: Frame, name: Buffer): { targetFd: number; mode: WalkMode } {
    const { sys, scratch, control, stagingFd } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const open = (dirFd: number, at: Buffer): number => sys.openat(dirFd, scratch.at(at), flags, 0);
    const found = open(frame.targetFd, name);
    if (frame.mode !== "update") {
      const mode = frame.fresh?.has(name.toString("latin1")) === true ? "fill" : frame.mode;
      return { targetFd: onTarget(found, "openat"), mode };
    }
    if (found >= 0) return { targetFd: found, mode: "update" };
    if (found !== -errno.ENOENT && found !== -errno.ENOTDIR && found !== -errno.ELOOP) onTarget(found, "openat");
    this.#settler.placer.lookAt(frame, name);
    const oldIno = found === -errno.ENOENT ? 0n : this.#thread.targetStat.ino;
    const serial = control.nextSerial();
    const staged = Buffer.from(stagedUpdateName(serial));
    onTarget(sys.mkdirat(stagingFd, scratch.at(staged), 0o700), "mkdirat");
    const directory = pathOf(frame);
    appendAction(sys, frame.actionsFd, { type: "put", unit: frame.unit, directory, name, serial, oldIno });
    return { targetFd: onTarget(open(stagingFd, staged), "openat"), mode: "fill" };
  }
}
