import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { metadataOf, readAttributes, sameAttributes } from "../tree/attributes.ts";
import { isEmptyDirectory } from "../tree/count.ts";
import { Listing, type Entry } from "../tree/listing.ts";
import { keepingXattrs, withoutXattrs } from "../tree/without-xattrs.ts";
import { STORE_NAME } from "../../store/store.ts";
import { beyond, isOnTarget } from "./target-path.ts";
import { EntryFailure, fromSource, onSource, onTarget } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import type { WalkMode } from "./messages.ts";
import { openSource, statOpen } from "./source-file.ts";
import { heldOf, heldOfUnreadable } from "./subject.ts";
import type { SurveyContext } from "./survey-context.ts";
import { SurveySettler } from "./survey-settle.ts";

/** As in walk.ts. */
const PENDING_MOST = 4096;
const YOUNG_SECONDS = 2;
const LOST_AND_FOUND = Buffer.from("lost+found");
const STORE_BYTES = Buffer.from(STORE_NAME);

/** A subtree to look at. The walker owns the descriptors; `targetFd` is -1 where nothing is published yet. */
export type SurveyTask = {
  unit: number;
  mode: WalkMode;
  sourceFd: number;
  targetFd: number;
  path: Buffer;
  parentDevice: number;
};

/** Walks as `Walker` does and takes what it takes; every name is settled on paper only. */
export class SurveyWalker {
  readonly #context: SurveyContext;
  readonly #settler: SurveySettler;
  readonly #listing: Listing;
  #pending: Entry[] = [];
  /** Names met in the task at hand, or the last one; `directories` among them. */
  names = 0;
  directories = 0;

  constructor(context: SurveyContext) {
    this.#context = context;
    this.#settler = new SurveySettler(context);
    this.#listing = new Listing(context.thread.sys);
  }

  /** @throws EntryFailure for the task's own directory, RunFailure, Stopped */
  run({ parentDevice, path, ...task }: SurveyTask): void {
    const stack: Frame[] = [];
    this.names = 0;
    this.directories = 0;
    this.#pending = [];
    try {
      const first = this.#frame({ ...task, parent: undefined, name: path, actionsFd: -1 }, parentDevice);
      stack.push(first);
      if (this.#context.thread.rules.oneFileSystem && first.isMountRoot && parentDevice >= 0)
        this.#stayOutside(first);
      while (stack.length > 0) this.#step(stack);
    } finally {
      for (const frame of stack) this.#close(frame);
    }
  }

  #frame(
    opened: Pick<Frame, "parent" | "name" | "unit" | "mode" | "sourceFd" | "targetFd" | "actionsFd">,
    parentDevice: number,
  ): Frame {
    const { thread, needs } = this.#context;
    const { openStat, rules } = thread;
    statOpen(thread, opened.sourceFd, openStat);
    if (opened.targetFd < 0) needs.directory(openStat.sizeBytes);
    const filesystem = thread.filesystemOf(opened.sourceFd, openStat.device);
    const youngest = Math.max(openStat.mtimeSeconds, openStat.ctimeSeconds);
    const isOld = youngest < rules.startSeconds - YOUNG_SECONDS;
    return {
      ...opened,
      filesystem,
      metadata: metadataOf(openStat),
      isPlain: false,
      isTrusted: isOld && filesystem.trustsDirentIno && !rules.hasFileMounts && !rules.verbose,
      isMountRoot: openStat.device !== parentDevice,
      isListed: false,
      subdirectories: [],
      fresh: undefined,
    };
  }

  #step(stack: Frame[]): void {
    const frame = stack.at(-1) as Frame;
    if (!frame.isListed) {
      this.#context.thread.checkStop();
      this.#list(frame);
    }
    const name = frame.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(frame, name);
    if (frame.subdirectories.length === 0) {
      stack.pop();
      this.#close(frame);
    }
    if (child !== undefined) stack.push(child);
  }

  #close({ sourceFd, targetFd }: Frame): void {
    const { sys } = this.#context.thread;
    sys.close(sourceFd);
    if (targetFd >= 0) sys.close(targetFd);
  }

  #list(frame: Frame): void {
    frame.isListed = true;
    const { thread, placer } = this.#context;
    const isComplete = thread.attempt(frame, undefined, () => {
      this.#readEntries(frame);
    });
    if (!placer.isPublished(frame))
      for (const name of frame.subdirectories) thread.tell(frame, name, "directory");
    if (placer.isPublished(frame) && isComplete && thread.rules.delete)
      this.#context.changes += this.#context.remover.survey(frame);
    thread.attempt(frame, undefined, () => {
      this.#finish(frame);
    });
    thread.flush(frame.unit);
  }

  #readEntries(frame: Frame): void {
    const listing = this.#listing;
    try {
      while (onSource(listing.read(frame.sourceFd), "getdents64") > 0) {
        while (listing.next()) this.#readEntry(frame);
        if (this.#pending.length >= PENDING_MOST) this.#settlePending(frame);
      }
    } finally {
      this.#settlePending(frame);
    }
  }

  #readEntry(frame: Frame): void {
    const listing = this.#listing;
    const { counters, filter } = this.#context.thread;
    const { type, inoLow, inoHigh } = listing;
    if (filter !== undefined || frame.parent === undefined || frame.isMountRoot) {
      if (!this.#isTaken(frame, listing.copyName(), type)) return;
    }
    if (type === DT_DIR) {
      if (frame.mode !== "loose") {
        this.names++;
        counters.names++;
        this.#pushDirectory(frame, listing.copyName());
      }
      return;
    }
    this.names++;
    counters.names++;
    const isSettled =
      frame.isTrusted && type !== DT_UNKNOWN && this.#settler.linkKnown(frame, inoLow, inoHigh);
    if (!isSettled) this.#pending.push({ name: listing.copyName(), inoLow, inoHigh });
  }

  #isTaken(frame: Frame, name: Buffer, type: number): boolean {
    if (frame.parent === undefined && frame.name.length === 0 && name.equals(STORE_BYTES)) return false;
    if (frame.isMountRoot && name.equals(LOST_AND_FOUND) && this.#isBare(frame, name)) return false;
    const { filter } = this.#context.thread;
    if (filter === undefined) return true;
    return filter.takes(pathOf(frame, name), this.#isDirectory(frame, name, type) ? "directory" : "other");
  }

  /** As mkfs made it: empty, or for root alone. */
  #isBare({ sourceFd }: Frame, name: Buffer): boolean {
    const { thread } = this.#context;
    const { sys, scratch } = thread;
    const fd = sys.openat(sourceFd, scratch.at(name), sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return fd === -errno.EACCES;
    sys.close(fd);
    return isEmptyDirectory(thread, sourceFd, name);
  }

  #isDirectory({ sourceFd }: Frame, name: Buffer, type: number): boolean {
    if (type !== DT_UNKNOWN) return type === DT_DIR;
    const { sys, scratch, stat } = this.#context.thread;
    return sys.statx(sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0 && stat.isDirectory;
  }

  /** In inode order, as the run does it: which of several equals is the first one decides what is written. */
  #settlePending(frame: Frame): void {
    const entries = this.#pending;
    this.#pending = [];
    entries.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
    const { thread } = this.#context;
    for (const entry of entries) {
      thread.attempt(frame, entry.name, () => {
        if (this.#settler.settle(frame, entry) !== "directory" || frame.mode === "loose") return;
        this.#pushDirectory(frame, entry.name);
      });
    }
  }

  #pushDirectory(frame: Frame, name: Buffer): void {
    this.directories++;
    this.#context.thread.counters.directories++;
    frame.subdirectories.push(name);
  }

  /** What the directory will look like; of a published one, whether that differs. */
  #finish(frame: Frame): void {
    const { thread, placer } = this.#context;
    const { targetStat, xattrs, rules } = thread;
    const read = fromSource(() => readAttributes(frame.metadata, xattrs, { fd: frame.sourceFd }));
    const wanted = heldOf(thread, rules.xattrs ? read : withoutXattrs(read)).attributes;
    if (!placer.isPublished(frame)) return;
    statOpen(thread, frame.targetFd, targetStat);
    const actual = readAttributes(targetStat, xattrs, { fd: frame.targetFd });
    // A store that has to be made first leaves its mark on the root's times.
    const isMarked = this.#context.store === "new" && frame.parent === undefined && frame.name.length === 0;
    const due = rules.xattrs ? wanted : keepingXattrs(wanted, actual);
    if (isMarked || !sameAttributes(due, actual)) this.#context.changes++;
  }

  #descend(frame: Frame, name: Buffer): Frame | undefined {
    const { thread } = this.#context;
    const { sys, rules } = thread;
    let sourceFd = -1;
    let child: Frame | undefined;
    thread.attempt(frame, name, () => {
      sourceFd = this.#openSourceDirectory(frame, name);
      const target = this.#openTarget(frame, name);
      const { unit } = frame;
      const opened = { parent: frame, name, unit, sourceFd, actionsFd: -1, ...target };
      child = this.#frame(opened, frame.filesystem.device);
      if (rules.oneFileSystem && child.isMountRoot) this.#stayOutside(child);
    });
    if (child === undefined && sourceFd >= 0) sys.close(sourceFd);
    return child;
  }

  /** One that cannot be read is made all the same, with the metadata that its name tells. */
  #openSourceDirectory(frame: Frame, name: Buffer): number {
    const { thread } = this.#context;
    try {
      return openSource(thread, frame.sourceFd, name, thread.sys.O_DIRECTORY);
    } catch (error) {
      if (error instanceof EntryFailure && frame.mode !== "update")
        heldOfUnreadable(thread, frame.sourceFd, name);
      throw error;
    }
  }

  #stayOutside(child: Frame): void {
    this.#finish(child);
    child.isListed = true;
  }

  /** The published directory of this name, or none: then all below it is new. */
  #openTarget(frame: Frame, name: Buffer): { targetFd: number; mode: WalkMode } {
    if (frame.mode !== "update") return { targetFd: -1, mode: "fill" };
    const { sys, scratch } = this.#context.thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const found = sys.openat(frame.targetFd, scratch.at(name), flags, 0);
    if (found >= 0) {
      const { thread } = this.#context;
      statOpen(thread, found, thread.targetStat);
      if (isOnTarget(thread.targetStat, thread.rules.targetDevice))
        return { targetFd: found, mode: "update" };
      sys.close(found);
      throw beyond();
    }
    if (found !== -errno.ENOENT && found !== -errno.ENOTDIR && found !== -errno.ELOOP)
      onTarget(found, "openat");
    this.#context.changes++;
    this.#context.thread.tell(frame, name, found === -errno.ENOENT ? "directory" : "replaced");
    return { targetFd: -1, mode: "fill" };
  }
}
