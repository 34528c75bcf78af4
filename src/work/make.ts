import {
  AT_EMPTY_PATH,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFLNK,
  S_IFREG,
} from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { makeDevice } from "../sys/stat.ts";
import type { Stat } from "../sys/stat.ts";
import { sameAttributes, type Attributes } from "../tree/attributes.ts";
import { procPath } from "../tree/apply.ts";
import { EntryFailure, onTarget, targetFailed } from "./errors.ts";
import type { Frame } from "./frame.ts";
import type { Destination, Placer } from "./place.ts";
import type { Thread } from "./thread.ts";

/** What a symlink or special is, beside its attributes. */
export type Special = { type: number; rdevMajor: number; rdevMinor: number; linkTarget: Buffer | undefined };

/** Shorter ones are taken everywhere: xfs, and ext4 with blocks of 1 KiB, take 1,023 bytes, others more. */
const LONG_TEXT_BYTES = 1024;

/** Creates inodes on the target, each with all of its attributes. */
export class Maker {
  readonly #thread: Thread;
  readonly #placer: Placer;

  constructor(thread: Thread, placer: Placer) {
    this.#thread = thread;
    this.#placer = placer;
  }

  /**
   * Makes a regular file, lets `write` fill it, gives it its attributes and reads them back: filesystems clamp and
   * add silently. `targetStat` holds the finished inode.
   * @returns where it is, and the attributes it really has.
   * @throws EntryFailure, RunFailure; the unfinished file is gone then.
   */
  regular(
    frame: Frame,
    name: Buffer,
    held: Attributes,
    write: (fd: number) => void,
  ): { at: Destination; actual: Attributes } {
    const { sys, setter, scratch, targetStat } = this.#thread;
    const { at, fd } = this.#create(frame, name, held);
    let isWhole = false;
    try {
      write(fd);
      const { euid, egid } = this.#thread.traits;
      const created = { mode: this.#creationMode(held), uid: euid, gid: egid };
      this.#thread.counters.lostXattrs += setter.toDescriptor(fd, held, created);
      onTarget(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, targetStat.address), "statx");
      const actual = this.#readBack(fd, held, targetStat);
      isWhole = true;
      return { at, actual };
    } finally {
      sys.close(fd);
      if (!isWhole) this.unmake(at);
    }
  }

  /** No more than the owner's bits until the owner is right; setuid and setgid come last in any case. */
  #creationMode({ mode, uid, gid }: Attributes): number {
    const { euid, egid } = this.#thread.traits;
    return uid === euid && gid === egid ? mode & 0o777 : mode & 0o700;
  }

  /** Removes what was just made. */
  unmake(at: Destination): void {
    this.#thread.sys.unlinkat(at.fd, this.#thread.scratch.at(at.name), 0);
  }

  #create(frame: Frame, name: Buffer, held: Attributes): { at: Destination; fd: number } {
    const { sys, scratch } = this.#thread;
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    const mode = this.#creationMode(held);
    for (let attempt = 0; ; attempt++) {
      const at = this.#placer.open(frame, name);
      const fd = sys.openat(at.fd, scratch.at(at.name), flags, mode);
      if (fd >= 0) return { at, fd };
      if (fd !== -errno.EEXIST || attempt > 0) targetFailed("openat", fd);
      this.#placer.clear(frame, name);
    }
  }

  /** Sets what differs once more (a mount that gives files the group of their directory), then believes the inode. */
  #readBack(fd: number, held: Attributes, stat: Stat): Attributes {
    const { sys, setter, scratch, traits, xattrs } = this.#thread;
    const isRight = (): boolean =>
      (stat.mode & 0o7777) === held.mode &&
      stat.uid === held.uid &&
      stat.gid === held.gid &&
      stat.mtimeNs === held.mtimeNs;
    if (!isRight()) {
      setter.toDescriptor(fd, held, undefined);
      onTarget(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address), "statx");
    }
    if (isRight() && held.xattrs.length === 0 && !traits.addsXattrs) return held;
    const actual: Attributes = {
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      mtimeNs: stat.mtimeNs,
      xattrs: held.xattrs.length === 0 && !traits.addsXattrs ? held.xattrs : xattrs.read({ fd }),
    };
    return sameAttributes(actual, held) ? held : actual;
  }

  /**
   * Makes a symlink, fifo, socket, device or empty file.
   * @returns undefined when this user may not make it (a device, for others than root).
   */
  special(frame: Frame, name: Buffer, special: Special, held: Attributes): Destination | undefined {
    for (let attempt = 0; ; attempt++) {
      const at = this.#placer.open(frame, name);
      const result = this.#makeSpecial(at, special);
      if (result === 0) {
        this.#dress(at, special, held);
        return at;
      }
      if (result === -errno.EPERM && (special.type === S_IFBLK || special.type === S_IFCHR)) return undefined;
      if (result === -errno.ENAMETOOLONG) this.#refuseText(special);
      if (result !== -errno.EEXIST || attempt > 0)
        targetFailed(special.type === S_IFLNK ? "symlinkat" : "mknodat", result);
      this.#placer.clear(frame, name);
    }
  }

  #refuseText({ linkTarget }: Special): void {
    // Else it is the name that is too long.
    if (linkTarget === undefined || linkTarget.length < LONG_TEXT_BYTES) return;
    const length = String(linkTarget.length);
    const message = `it is a symlink to ${length} bytes, which is more than the target's filesystem takes`;
    throw new EntryFailure("ENAMETOOLONG", message);
  }

  #makeSpecial(at: Destination, special: Special): number {
    const { sys, scratch } = this.#thread;
    if (special.linkTarget !== undefined)
      return sys.symlinkat(scratch.at(special.linkTarget), at.fd, scratch.at(at.name));
    const isDevice = special.type === S_IFCHR || special.type === S_IFBLK;
    const device = isDevice ? makeDevice(special.rdevMajor, special.rdevMinor) : 0;
    return sys.mknodat(at.fd, scratch.at(at.name), special.type | 0o600, device);
  }

  #dress(at: Destination, special: Special, held: Attributes): void {
    const { setter, counters } = this.#thread;
    counters.lostXattrs += setter.toName(at.fd, at.name, special.type, held);
  }

  /** Whether the inode in `targetStat`, which is `name` in `dirFd`, is this special already. */
  isSame(dirFd: number, name: Buffer, special: Special, held: Attributes): boolean {
    const { targetStat, xattrs } = this.#thread;
    if (targetStat.type !== special.type || (special.type === S_IFREG && targetStat.sizeBytes !== 0))
      return false;
    if (targetStat.rdevMajor !== special.rdevMajor || targetStat.rdevMinor !== special.rdevMinor)
      return false;
    const actual: Attributes = {
      mode: targetStat.mode & 0o7777,
      uid: targetStat.uid,
      gid: targetStat.gid,
      mtimeNs: targetStat.mtimeNs,
      xattrs: xattrs.read({ path: procPath(dirFd, name) }),
    };
    if (special.type === S_IFLNK && !this.#sameLinkTarget(dirFd, name, special)) return false;
    return sameAttributes(actual, special.type === S_IFLNK ? { ...held, mode: actual.mode } : held);
  }

  #sameLinkTarget(dirFd: number, name: Buffer, special: Special): boolean {
    return this.readLink(dirFd, name)?.equals(special.linkTarget ?? Buffer.alloc(0)) ?? false;
  }

  /** The target of a symlink; undefined when it is none any more. */
  readLink(dirFd: number, name: Buffer): Buffer | undefined {
    const { sys, scratch } = this.#thread;
    const memory = sys.allocate(4096);
    const length = sys.readlinkat(dirFd, scratch.at(name), memory.address, memory.bytes.length);
    if (length < 0) return undefined;
    if (length >= memory.bytes.length)
      throw new EntryFailure("ENAMETOOLONG", "the symlink's target is too long");
    return Buffer.from(memory.bytes.subarray(0, length));
  }
}
