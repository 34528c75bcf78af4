import {
  AT_SYMLINK_NOFOLLOW,
  F_RDLCK,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
} from "../sys/constants.ts";
import { SysError, errno, errnoName } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Address } from "../sys/sys.ts";
import { EntryFailure, RunFailure, onTarget } from "../work/errors.ts";
import { isInode, isState } from "./inode-state.ts";
import { busy, changed } from "./stable-content.ts";

/** Where the inode lies that a name is to lead to. */
export type LinkFrom = { dirFd: number; name: Address; state: Uint32Array };
/**
 * `hasXattrs` says of an open inode whether its extended attributes are those that were compared. `tmp`: a temporary
 * name for this name alone, by which the next run knows what it stands for.
 */
export type NameToReplace = {
  dirFd: number;
  name: Buffer;
  victim: Uint32Array;
  hasXattrs: (fd: number) => boolean;
  tmp?: Buffer;
};

/** Temporary names that are tried for one name; the next one goes on from there. */
const MOST_TRIES = 4;

/** The name was left alone. */
export class NoRoom extends RunFailure {
  constructor(call: string, result: number) {
    super(errnoName(-result), `the target failed: ${new SysError(call, -result).sentence}`);
  }
}

/** What was taken out of the name is under the temporary one. */
export class NotPutBack extends RunFailure {
  constructor(result: number, kept: Buffer) {
    const file = kept.toString("latin1");
    super(
      errnoName(-result),
      `there was no room to put a file back that others are changing; it is kept as ${file}`,
    );
  }
}

/** Where names cannot be exchanged: the second name of what is replaced. */
export const keptName = (tmp: Buffer): Buffer => Buffer.concat([tmp, Buffer.from(".kept")]);

/**
 * Makes a name lead to another inode, without a moment in which it leads nowhere and without losing what someone else
 * may just have put there (docs/design.md, "Relinking"). One per thread: the temporary name is its own.
 */
export class Replacer {
  readonly #kernel: Kernel;
  readonly #tmpFd: number;
  #first: Buffer;
  readonly #isNumbered: boolean;
  readonly #isAlone: boolean;
  #tmp: Buffer;
  #kept: Buffer;
  /** How often the temporary name was found taken. */
  #taken = 0;
  readonly #stat: Stat;
  /** The filesystem exchanges names, as far as is known. */
  #isAble = true;
  /** Something may have been freed since the last sync. */
  #mayHaveFreed = true;

  /**
   * `isNumbered`: the temporary name gets a number where what a failed call left has it. `isAlone`: no other thread
   * frees anything.
   */
  constructor(
    kernel: Kernel,
    tmpFd: number,
    tmp: Buffer,
    { isNumbered = false, isAlone = false }: { isNumbered?: boolean; isAlone?: boolean } = {},
  ) {
    this.#kernel = kernel;
    this.#isNumbered = isNumbered;
    this.#isAlone = isAlone;
    this.#tmpFd = tmpFd;
    this.#first = this.#tmp = tmp;
    this.#kept = keptName(tmp);
    this.#stat = new Stat(kernel.sys);
  }

  /** @throws EntryFailure where the name was left alone; RunFailure */
  replace(at: NameToReplace, from: LinkFrom): "replaced" | "unchanged" {
    const { sys, scratch } = this.#kernel;
    const stat = this.#stat;
    const looked = sys.statx(at.dirFd, scratch.at(at.name), AT_SYMLINK_NOFOLLOW, stat.address);
    if (looked === -errno.ENOENT) throw changed();
    onTarget(looked, "statx");
    if (isInode(stat, from.state)) return "unchanged";
    if (!isState(stat, at.victim)) throw changed();
    if (at.tmp !== undefined) this.#setName(at.tmp);
    this.#link(from);
    const exchanged = this.#isAble ? this.#withRoom(() => this.#exchange(at)) : -errno.EINVAL;
    if (exchanged === -errno.EINVAL || exchanged === -errno.ENOSYS) {
      this.#isAble = false;
      this.#renameOver(at);
      this.#mayHaveFreed = true;
      return "replaced";
    }
    if (exchanged < 0) {
      this.#drop();
      if (exchanged === -errno.ENOENT) throw changed();
      onName(exchanged, "renameat2");
    }
    this.#judge(at, from);
    this.#mayHaveFreed = true;
    return "replaced";
  }

  #withRoom(call: () => number): number {
    return this.#mayHaveFreed || !this.#isAlone ? this.#withAllRoom(call) : call();
  }

  /** Room that was freed may wait for the journal, or (btrfs) for the transaction. */
  #withAllRoom(call: () => number): number {
    const result = call();
    if (result !== -errno.ENOSPC) return result;
    this.#mayHaveFreed = false;
    const synced = this.#kernel.sys.syncfs(this.#tmpFd);
    if (isFull(synced)) return synced;
    onTarget(synced, "syncfs");
    return call();
  }

  #setName(tmp: Buffer): void {
    this.#taken = 0;
    this.#first = this.#tmp = tmp;
    this.#kept = keptName(tmp);
  }

  /** The temporary name, proven to be the inode that was hashed. */
  #link(from: LinkFrom): void {
    const { sys, scratch } = this.#kernel;
    const result = this.#linkFrom(from);
    if (result === -errno.EMLINK) throw new EntryFailure("EMLINK", "the filesystem's link limit is reached");
    onName(result, "linkat");
    const stat = this.#stat;
    onTarget(sys.statx(this.#tmpFd, scratch.at(this.#tmp), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
    if (isState(stat, from.state)) return;
    this.#drop();
    throw new EntryFailure("CHANGED", "the file that its equals were to share was changed meanwhile");
  }

  #linkFrom({ dirFd, name }: LinkFrom): number {
    const { sys, scratch } = this.#kernel;
    for (let tries = 1; ; tries++) {
      const result = this.#withRoom(() => sys.linkat(dirFd, name, this.#tmpFd, scratch.at(this.#tmp), 0));
      if (result !== -errno.EEXIST || !this.#isNumbered || tries === MOST_TRIES) return result;
      this.#taken++;
      this.#tmp = Buffer.concat([this.#first, Buffer.from(`.${String(this.#taken)}`)]);
      this.#kept = keptName(this.#tmp);
    }
  }

  /**
   * Where names cannot be exchanged: what the name leads to gets a second name and is looked at, with a lease that keeps
   * writers out until it is over, then the name is renamed over, then it is looked at again. Whoever puts another file
   * in the name's place between the last look and the rename loses it.
   */
  #renameOver(at: NameToReplace): void {
    const { sys, scratch } = this.#kernel;
    const [tmp, kept, name] = [this.#tmp, this.#kept, at.name];
    let fd = -1;
    let mayGo = false;
    try {
      // What is there already may be the last name of a file that a killed run left.
      onName(sys.linkat(at.dirFd, scratch.at(name), this.#tmpFd, scratch.at(kept), 0), "linkat");
      mayGo = true;
      const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
      fd = openQuietly(sys, this.#tmpFd, scratch.at(kept), flags);
      const refusal = fd < 0 ? changed() : (this.#refusal(fd, at) ?? this.#absence(at));
      if (refusal !== undefined) throw refusal;
      onName(sys.renameat2(this.#tmpFd, scratch.at(tmp), at.dirFd, scratch.at(name), 0), "renameat2");
      if (!isState(statDescriptor(this.#kernel, fd, this.#stat), at.victim)) {
        mayGo = false;
        onPutBack(sys.renameat2(this.#tmpFd, scratch.at(kept), at.dirFd, scratch.at(name), 0), kept);
        mayGo = true;
        throw changed();
      }
    } finally {
      if (fd >= 0) sys.close(fd);
      // A rename of one inode over itself does nothing.
      for (const each of mayGo ? [tmp, kept] : [tmp]) sys.unlinkat(this.#tmpFd, scratch.at(each), 0);
    }
  }

  /** The name leads elsewhere by now. */
  #absence({ dirFd, name, victim }: NameToReplace): EntryFailure | undefined {
    const { sys, scratch } = this.#kernel;
    const result = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    return result === 0 && isInode(this.#stat, victim) ? undefined : changed();
  }

  #exchange({ dirFd, name }: NameToReplace): number {
    const { sys, scratch } = this.#kernel;
    return sys.renameat2(this.#tmpFd, scratch.at(this.#tmp), dirFd, scratch.at(name), RENAME_EXCHANGE);
  }

  /** Looks at what came out. The lease comes first: who has it open now may write before the look, or after it. */
  #judge(at: NameToReplace, from: LinkFrom): void {
    const { sys, scratch } = this.#kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, this.#tmpFd, scratch.at(this.#tmp), flags);
    try {
      const refusal = this.#lookAt(fd, at);
      if (refusal === undefined) this.#drop();
      else {
        this.#putBack(at, from.state);
        throw refusal;
      }
    } finally {
      if (fd >= 0) sys.close(fd);
    }
  }

  /** What cannot be looked at is not taken for what it should be. */
  #lookAt(fd: number, at: NameToReplace): Error | undefined {
    try {
      return fd < 0 ? changed() : this.#refusal(fd, at);
    } catch (error) {
      return error as Error;
    }
  }

  #refusal(fd: number, { victim, hasXattrs }: NameToReplace): EntryFailure | undefined {
    const { sys } = this.#kernel;
    if (sys.setLease(fd, F_RDLCK) === -errno.EAGAIN) return busy();
    const isSame = isState(statDescriptor(this.#kernel, fd, this.#stat), victim) && hasXattrs(fd);
    return isSame ? undefined : changed();
  }

  /**
   * Exchanges back until what comes out is what was put there last: anything else is newer, and stays. Where the name
   * is gone by now, what was taken out gets it again.
   */
  #putBack(at: NameToReplace, placed: Uint32Array): void {
    const { sys, scratch } = this.#kernel;
    let expected: Uint32Array = placed;
    for (;;) {
      const held = this.#inodeHeld();
      const result = this.#withAllRoom(() => this.#exchange(at));
      if (result === -errno.ENOENT) {
        const name = scratch.at(at.name);
        const renamed = sys.renameat2(this.#tmpFd, scratch.at(this.#tmp), at.dirFd, name, RENAME_NOREPLACE);
        if (renamed === -errno.EEXIST) continue;
        onPutBack(renamed, this.#tmp);
        return;
      }
      onPutBack(result, this.#tmp);
      this.#inodeHeld();
      if (isInode(this.#stat, expected)) break;
      expected = held;
    }
    this.#drop();
  }

  #inodeHeld(): Uint32Array {
    const { sys, scratch } = this.#kernel;
    const stat = this.#stat;
    onTarget(sys.statx(this.#tmpFd, scratch.at(this.#tmp), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
    return Uint32Array.of(stat.inoHigh, stat.inoLow);
  }

  #drop(): void {
    const { sys, scratch } = this.#kernel;
    onTarget(sys.unlinkat(this.#tmpFd, scratch.at(this.#tmp), 0), "unlinkat");
  }
}

const isFull = (result: number): boolean => result === -errno.ENOSPC || result === -errno.EDQUOT;

function onName(result: number, call: string): void {
  if (isFull(result)) throw new NoRoom(call, result);
  onTarget(result, call);
}

function onPutBack(result: number, kept: Buffer): void {
  if (isFull(result)) throw new NotPutBack(result, kept);
  onTarget(result, "renameat2");
}
