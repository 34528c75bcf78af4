import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { metadataOf } from "../tree/attributes.ts";
import { Listing, type Entry } from "../tree/listing.ts";
import { STORE_NAME } from "../../store/store.ts";
import { EntryFailure, onSource } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import { LentEntries } from "./lent-entries.ts";
import type { Task, TaskOutcome } from "./messages.ts";
import { Settler } from "./settle.ts";
import { Sharer } from "./share.ts";
import { openSource, statOpen } from "./source-file.ts";
import { TargetDirectory } from "./target-directory.ts";
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
  readonly #target: TargetDirectory;
  readonly #sharer: Sharer;
  #pending: Entry[] = [];
  /** Names met in the task at hand, or the last one. */
  names = 0;

  constructor(thread: Thread) {
    this.#thread = thread;
    this.#settler = new Settler(thread);
    this.#listing = new Listing(thread.sys);
    this.#target = new TargetDirectory(thread, this.#settler.placer);
    this.#sharer = new Sharer(thread);
  }

  /** @throws RunFailure, Stopped: the task is not complete then. */
  run(task: Task): TaskOutcome {
    const stack: Frame[] = [];
    this.names = 0;
    this.#target.begin();
    this.#pending = [];
    const lent = task.loan === undefined ? undefined : new LentEntries(task.loan);
    try {
      const frame = this.#firstFrame(task);
      stack.push(frame);
      if (lent !== undefined) this.#settleLent(frame, lent);
      while (stack.length > 0) this.#step(stack);
    } finally {
      this.#thread.session.flushRecords();
      for (const frame of stack) this.#close(frame);
      lent?.finish();
    }
    return this.#target.hasUncompared ? "withheld" : "done";
  }

  #settleLent(frame: Frame, lent: LentEntries): void {
    this.#thread.checkStop();
    if (!lent.take()) return;
    this.#settleAll(frame, lent.entries);
    // What has become a directory meanwhile.
    this.#target.makeSubdirectories(frame);
  }

  #firstFrame(task: Task): Frame {
    const { unit, mode, sourceFd, targetFd, actionsFd, path, isPlain } = task;
    const frame = this.#frame(
      { parent: undefined, name: path, unit, mode, sourceFd, targetFd, actionsFd, isPlain },
      task.parentDevice,
    );
    if (this.#thread.rules.oneFileSystem && frame.isMountRoot && task.parentDevice >= 0)
      this.#stayOutside(frame);
    frame.isListed ||= task.subdirectories !== undefined || task.loan !== undefined;
    frame.subdirectories = task.subdirectories?.map((name) => Buffer.from(name)) ?? [];
    return frame;
  }

  /** Looks at the directory's own inode, which tells its filesystem and how far its entries may be trusted. */
  #frame(
    opened: Pick<
      Frame,
      "parent" | "name" | "unit" | "mode" | "sourceFd" | "targetFd" | "actionsFd" | "isPlain"
    >,
    parentDevice: number,
  ): Frame {
    const { openStat, rules } = this.#thread;
    statOpen(this.#thread, opened.sourceFd, openStat);
    const filesystem = this.#thread.filesystemOf(opened.sourceFd, openStat.device);
    const youngest = Math.max(openStat.mtimeSeconds, openStat.ctimeSeconds);
    const isOld = youngest < rules.startSeconds - YOUNG_SECONDS;
    // Field by field: spread costs more than the calls, for small directories.
    return {
      parent: opened.parent,
      name: opened.name,
      unit: opened.unit,
      mode: opened.mode,
      sourceFd: opened.sourceFd,
      targetFd: opened.targetFd,
      actionsFd: opened.actionsFd,
      isPlain: opened.isPlain,
      filesystem,
      metadata: metadataOf(openStat),
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
    this.#sharer.giveSubdirectories(stack);
    const name = frame.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(frame, name);
    if (frame.subdirectories.length === 0) {
      stack.pop();
      this.#close(frame);
    }
    if (child !== undefined) stack.push(child);
  }

  #close(frame: Frame): void {
    this.#thread.sys.close(frame.sourceFd);
    this.#thread.sys.close(frame.targetFd);
  }

  /** All entries of a directory, then the directory itself: nothing below changes its times any more. */
  #list(frame: Frame): void {
    frame.isListed = true;
    this.#thread.session.refresh();
    if (frame.mode === "refill") this.#target.prepareRefill(frame);
    const isComplete = this.#thread.attempt(frame, undefined, () => {
      this.#readEntries(frame);
    });
    if (frame.mode === "refill" && !isComplete) this.#target.clearAll(frame);
    if (frame.mode === "fill" || frame.mode === "refill") this.#target.makeSubdirectories(frame);
    if (frame.mode === "refill") this.#target.removeStale(frame);
    if (this.#settler.placer.isPublished(frame) && isComplete && this.#thread.rules.delete)
      this.#target.planRemovals(frame);
    this.#thread.attempt(frame, undefined, () => {
      this.#target.finish(frame);
    });
    this.#thread.session.flushRecords();
    this.#thread.flush(frame.unit);
  }

  #readEntries(frame: Frame): void {
    const listing = this.#listing;
    try {
      while (onSource(listing.read(frame.sourceFd), "getdents64") > 0) {
        while (listing.next()) this.#readEntry(frame);
        if (this.#pending.length >= PENDING_MOST) this.#settlePending(frame);
      }
    } finally {
      // What was read before an error is good.
      this.#settlePending(frame);
    }
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
    if (
      frame.isTrusted &&
      type !== DT_UNKNOWN &&
      this.#settler.linkKnown(frame, inoLow, inoHigh, listing.nameAddress)
    )
      return;
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
    const fd = openQuietly(
      sys,
      frame.sourceFd,
      scratch.at(name),
      sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC,
    );
    if (fd < 0) return fd === -errno.EACCES;
    const listing = new Listing(sys);
    const isEmpty = listing.read(fd) >= 0 && !listing.next();
    sys.close(fd);
    return isEmpty;
  }

  #isDirectory(frame: Frame, name: Buffer, type: number): boolean {
    if (type !== DT_UNKNOWN) return type === DT_DIR;
    const { sys, scratch, stat } = this.#thread;
    return (
      sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0 && stat.isDirectory
    );
  }

  /** In inode order: on spinning disks that is the order in which the data lies. */
  #settlePending(frame: Frame): void {
    const entries = this.#pending;
    this.#pending = [];
    entries.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
    const lent: LentEntries[] = [];
    for (let at = 0; at < entries.length; at++) {
      // Asked each time: whoever is busy with a trifle now has nothing to do in a moment.
      const loan = this.#sharer.lend(frame, entries, at);
      if (loan !== undefined) lent.push(loan);
      this.#settle(frame, entries[at] as Entry);
    }
    // The last one first: the others have been begun, if any has.
    for (const loan of lent.reverse()) {
      const isBack = loan.takeBack(() => {
        this.#thread.checkStop();
      });
      if (isBack) this.#settleAll(frame, loan.entries);
    }
  }

  #settleAll(frame: Frame, entries: readonly Entry[]): void {
    for (const entry of entries) this.#settle(frame, entry);
  }

  #settle(frame: Frame, entry: Entry): void {
    const isSettled = this.#thread.attempt(frame, entry.name, () => {
      if (this.#settler.settle(frame, entry) === "directory" && frame.mode !== "loose") {
        this.#thread.counters.directories++;
        frame.subdirectories.push(entry.name);
      }
    });
    // What an earlier run left under the name may be half a file: it must not be published (P2).
    if (!isSettled && frame.mode === "refill") this.#target.clear(frame, entry.name);
  }

  /** Opens both ends of a subdirectory; undefined where it cannot be entered (and that is recorded). */
  #descend(frame: Frame, name: Buffer): Frame | undefined {
    const { sys } = this.#thread;
    let [sourceFd, targetFd] = [-1, -1];
    let child: Frame | undefined;
    this.#thread.attempt(frame, name, () => {
      sourceFd = this.#openSourceDirectory(frame, name);
      const opening = this.#target.open(frame, name);
      const { mode } = opening;
      ({ targetFd } = opening);
      const { unit, actionsFd } = frame;
      const isPlain = frame.isPlain && mode === "fill";
      const opened = { parent: frame, name, unit, mode, sourceFd, targetFd, actionsFd, isPlain };
      child = this.#frame(opened, frame.filesystem.device);
      if (this.#thread.rules.oneFileSystem && child.isMountRoot) this.#stayOutside(child);
    });
    if (child !== undefined || sourceFd < 0) return child;
    for (const fd of [sourceFd, targetFd]) if (fd >= 0) sys.close(fd);
    this.#thread.attempt(frame, name, () => {
      this.#target.shut(frame, name);
    });
    return undefined;
  }

  /** --one-file-system: the mount point itself is made, with what can be seen of it, and left empty. */
  #stayOutside(child: Frame): void {
    // First: where its metadata cannot be had it is listed, and still not entered.
    child.isListed = true;
    if (child.mode === "refill") this.#target.clearAll(child);
    this.#target.finish(child);
  }

  #openSourceDirectory(frame: Frame, name: Buffer): number {
    try {
      return openSource(this.#thread, frame.sourceFd, name, this.#thread.sys.O_DIRECTORY);
    } catch (error) {
      if (error instanceof EntryFailure && frame.mode !== "update") this.#target.dressUnreadable(frame, name);
      throw error;
    }
  }
}
