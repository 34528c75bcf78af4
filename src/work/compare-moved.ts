import { setTimeout as delay } from "node:timers/promises";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  POSIX_FADV_DONTNEED,
  S_IFLNK,
} from "../sys/constants.ts";
import { errno, EUCLEAN } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Memory } from "../sys/sys.ts";
import { procPath } from "../tree/apply.ts";
import {
  readAttributes,
  sameXattrs,
  XattrCalls,
  type Attributes,
  type XattrDoor,
} from "../tree/attributes.ts";
import { asHeld, type TargetTraits } from "../tree/traits.ts";
import { withoutXattrs } from "../tree/without-xattrs.ts";
import { EntryFailure, onSource, onTarget } from "./errors.ts";
import type { WorkRules } from "./messages.ts";
import { ContentComparer } from "./same-content.ts";
import { isYoung, openSource, statOpen } from "./source-file.ts";
import type { VerifiedPairs } from "./verified-pairs.ts";

export type CompareRules = Pick<WorkRules, "compared" | "xattrs"> & { strict: boolean };

/** What a source name was when it was compared: what is removed must be this still. */
export type Seen = {
  device: number;
  ino: bigint;
  sizeBytes: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  nlink: number;
};

const PATH_MOST = 4096;
/** A file that is still younger than the clock's tick after these is being written to: the last is for whole seconds. */
const WAITS_MS = [0, 50, 2100];

/** @throws EntryFailure: this name stays in the source, and why. */
export function keep(why: string): never {
  throw new EntryFailure("KEPT", why);
}

/** Of a read-back, an error is one entry's: the others can be read, and the source has this one. */
export function onReadBack(result: number, call: string): number {
  if (result === -errno.EIO || result === -EUCLEAN)
    keep("the target cannot read it back (input/output error)");
  return onTarget(result, call);
}

/**
 * Says whether a name of the target is all that the source's is: type, attributes as the target holds them, link
 * target or device number, and content, which is read from the device again.
 */
export class MovedComparer {
  readonly #kernel: Kernel;
  readonly #traits: TargetTraits;
  readonly #rules: CompareRules;
  readonly #pairs: VerifiedPairs;
  readonly #content: ContentComparer;
  readonly #xattrs: XattrCalls;
  readonly #link: Memory;
  readonly #passed: (bytes: number) => Promise<void>;
  readonly source: Stat;
  readonly target: Stat;

  /** `passed` is called between chunks of content; it may wait, and throws to stop. */
  constructor(parts: {
    kernel: Kernel;
    traits: TargetTraits;
    rules: CompareRules;
    pairs: VerifiedPairs;
    passed: (bytes: number) => Promise<void>;
  }) {
    const { sys, scratch } = parts.kernel;
    this.#kernel = parts.kernel;
    this.#traits = parts.traits;
    this.#rules = parts.rules;
    this.#pairs = parts.pairs;
    this.#passed = parts.passed;
    this.#content = new ContentComparer(sys);
    this.#xattrs = new XattrCalls(sys, scratch);
    this.#link = sys.allocate(PATH_MOST);
    this.source = new Stat(sys);
    this.target = new Stat(sys);
  }

  /**
   * Looks at a name on both sides. @returns what the source's is, if all agrees; "gone" when it is no more;
   * "directory". @throws EntryFailure where it must stay; RunFailure, SysError
   */
  async compare(sourceFd: number, targetFd: number, name: Buffer): Promise<Seen | "gone" | "directory"> {
    const { sys, scratch } = this.#kernel;
    const { source, target } = this;
    const statted = sys.statx(sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, source.address);
    if (statted === -errno.ENOENT) return "gone";
    onSource(statted, "statx");
    if (source.isDirectory) return "directory";
    const found = sys.statx(targetFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, target.address);
    if (found === -errno.ENOENT) keep("it is not on the target");
    onReadBack(found, "statx");
    if (source.ino === target.ino && source.device === target.device)
      keep("source and target are the same file");
    if (source.type !== target.type) keep("it is of another type on the target");
    if (source.isRegular && source.sizeBytes !== target.sizeBytes) keep("its size differs on the target");
    if (source.isRegular && source.sizeBytes > 0) await this.#compareContent(sourceFd, targetFd, name);
    else this.#compareSpecial(sourceFd, targetFd, name);
    return this.#seen();
  }

  #seen(): Seen {
    const { device, ino, sizeBytes, mtimeNs, ctimeNs, nlink } = this.source;
    return { device, ino, sizeBytes, mtimeNs, ctimeNs, nlink };
  }

  #compareSpecial(sourceFd: number, targetFd: number, name: Buffer): void {
    const { source, target } = this;
    if (source.rdevMajor !== target.rdevMajor || source.rdevMinor !== target.rdevMinor)
      keep("its device number differs on the target");
    if (source.type === S_IFLNK) {
      const there = this.#readLink(sourceFd, name, onSource);
      if (!there.equals(this.#readLink(targetFd, name, onReadBack)))
        keep("it points elsewhere on the target");
    }
    this.#compareAttributes({ path: procPath(sourceFd, name) }, { path: procPath(targetFd, name) });
  }

  #readLink(dirFd: number, name: Buffer, judge: (result: number, call: string) => number): Buffer {
    const { sys, scratch } = this.#kernel;
    const { address, bytes } = this.#link;
    const length = judge(sys.readlinkat(dirFd, scratch.at(name), address, PATH_MOST), "readlinkat");
    return Buffer.from(bytes.subarray(0, length));
  }

  /** --ignore-… and --merge let a merged inode have another's value; everything else is as the target can hold it. */
  #compareAttributes(sourceDoor: XattrDoor, targetDoor: XattrDoor): void {
    const { source, target } = this;
    const { compared, xattrs, strict } = this.#rules;
    const isMergeable = source.isRegular && source.sizeBytes > 0;
    const counts = (kind: keyof typeof compared): boolean => !isMergeable || compared[kind];
    const read = readAttributes(source, this.#xattrs, sourceDoor);
    if (xattrs && read.deniedXattrs !== undefined) keep("an extended attribute of it cannot be read");
    const held = asHeld(xattrs ? read : withoutXattrs(read), this.#traits);
    if (strict && (held.lostOwner || held.lostTime || held.lostXattrs > 0))
      keep("the target cannot hold all its attributes");
    const wanted = held.attributes;
    const isLink = source.type === S_IFLNK;
    if (counts("mode") && !isLink && wanted.mode !== (target.mode & 0o7777))
      keep("its mode differs on the target");
    if (counts("owner") && (wanted.uid !== target.uid || wanted.gid !== target.gid))
      keep("its owner differs on the target");
    if (counts("time") && wanted.mtimeNs !== target.mtimeNs) keep("its time differs on the target");
    if (counts("xattrs") && xattrs && !this.#hasXattrs(wanted, targetDoor))
      keep("its extended attributes differ on the target");
  }

  /** Where a security module labels every new file, the target's inode has a label more. */
  #hasXattrs(wanted: Attributes, door: XattrDoor): boolean {
    const actual = this.#xattrs.read(door).filter(({ name }) => {
      const isLabel = this.#traits.addsXattrs && name.toString("latin1", 0, 9) === "security.";
      return !isLabel || wanted.xattrs.some((xattr) => xattr.name.equals(name));
    });
    return sameXattrs(wanted.xattrs, actual);
  }

  async #compareContent(sourceDir: number, targetDir: number, name: Buffer): Promise<void> {
    const { source, target } = this;
    const { sys, scratch } = this.#kernel;
    // Also of the last name that is left: its inode was read when there were others.
    const verdict = this.#pairs.find(source, target);
    if (verdict === "same") return;
    if (verdict === "differs") keep("its content on the target differs");
    const sourceFd = openSource(this.#kernel, sourceDir, name);
    try {
      const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
      const targetFd = onReadBack(sys.openat(targetDir, scratch.at(name), flags, 0), "openat");
      try {
        await this.#compareOpen(sourceFd, targetFd);
      } finally {
        sys.close(targetFd);
      }
    } finally {
      sys.close(sourceFd);
    }
  }

  async #compareOpen(sourceFd: number, targetFd: number): Promise<void> {
    const { source, target } = this;
    await this.#waitUntilOld(sourceFd);
    this.#statTarget(targetFd);
    const before = this.#seen();
    const { ino, ctimeNs } = target;
    this.#compareAttributes({ fd: sourceFd }, { fd: targetFd });
    // The copy is durable, so its pages are clean and can go: what is read now comes from the device.
    this.#kernel.sys.fadvise(targetFd, 0, 0, POSIX_FADV_DONTNEED);
    const ends = [
      { fd: sourceFd, judge: onSource },
      { fd: targetFd, judge: onReadBack },
    ] as const;
    const isSame =
      before.sizeBytes === target.sizeBytes &&
      (await this.#content.isSame(...ends, before.sizeBytes, this.#passed));
    statOpen(this.#kernel, sourceFd, source);
    this.#statTarget(targetFd);
    if (!isUnchanged(source, before)) keep("it changed while it was compared");
    if (target.ino !== ino || target.ctimeNs !== ctimeNs) keep("the target changed while it was compared");
    if (source.nlink > 1) this.#pairs.remember(source, target, isSame ? "same" : "differs");
    if (!isSame) keep("its content on the target differs");
  }

  #statTarget(fd: number): void {
    const { sys, scratch } = this.#kernel;
    onReadBack(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, this.target.address), "statx");
  }

  /**
   * A write within the same tick of the clock as the last one leaves no trace in the times: what is read must be
   * older than a tick.
   */
  async #waitUntilOld(fd: number): Promise<void> {
    for (const waitMs of WAITS_MS) {
      if (waitMs > 0) await delay(waitMs);
      const nowMs = Date.now();
      statOpen(this.#kernel, fd, this.source);
      if (!isYoung(this.source, nowMs)) return;
    }
    keep("it is being written to");
  }
}

/** Whether an inode is still what was compared. Other names of it may have come or gone if the ctime is the same. */
export function isUnchanged(stat: Stat, seen: Seen): boolean {
  return (
    stat.ino === seen.ino &&
    stat.device === seen.device &&
    stat.sizeBytes === seen.sizeBytes &&
    stat.mtimeNs === seen.mtimeNs &&
    stat.ctimeNs === seen.ctimeNs
  );
}
