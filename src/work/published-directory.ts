import { AT_EMPTY_PATH } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { accessBetween } from "../tree/access.ts";
import { ACCESS_ACL } from "../tree/acl.ts";
import { AttributeSetter } from "../tree/apply.ts";
import { readAttributes, sameAttributes, XattrCalls, type Attributes } from "../tree/attributes.ts";
import { isGone, openBelow } from "../tree/path.ts";
import { TimesBuffer } from "../tree/times.ts";
import { asHeld, isAttributeRefusal, type TargetTraits } from "../tree/traits.ts";
import { keepingXattrs, withoutXattrs } from "../tree/without-xattrs.ts";
import { fromSource, onSource, onTarget } from "./errors.ts";

type Roots = { sourceFd: number; targetFd: number };
/** A directory of the source in hand, and its path below the root, which others may give to another one. */
export type SourceDirectory = { fd: number; path: Buffer };
/** A published directory in hand. */
type Both = { targetFd: number; wanted: Attributes; actual: Attributes };

/**
 * The metadata of directories that others can see: what grants less than before is set before names are put into
 * them, what grants more after the last name, and the times last of all (P10).
 */
export class PublishedDirectories {
  readonly #kernel: Kernel;
  readonly #targetFd: number;
  /** What all paths lead through. */
  #source: SourceDirectory;
  readonly #traits: TargetTraits;
  readonly #rules: { xattrs: boolean };
  readonly #xattrs: XattrCalls;
  readonly #setter: AttributeSetter;
  readonly #stat: Stat;

  constructor(kernel: Kernel, roots: Roots, traits: TargetTraits, rules: { xattrs: boolean }) {
    this.#kernel = kernel;
    this.#targetFd = roots.targetFd;
    this.#source = { fd: roots.sourceFd, path: Buffer.alloc(0) };
    this.#traits = traits;
    this.#rules = rules;
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
    this.#setter = new AttributeSetter(kernel.sys, kernel.scratch, this.#xattrs, new TimesBuffer(kernel.sys));
    this.#stat = new Stat(kernel.sys);
  }

  /** For as long as `work` runs, which is about nothing but the directory and those below, they are looked up from it. */
  within<T>(source: SourceDirectory, work: () => T): T {
    const outer = this.#source;
    this.#source = source;
    try {
      return work();
    } finally {
      this.#source = outer;
    }
  }

  /** Takes away what the source does not grant; nothing where there is no such directory. @throws EntryFailure, SysError */
  tighten(path: Buffer): void {
    const targetFd = openBelow(this.#kernel, this.#targetFd, path);
    if (isGone(targetFd)) return;
    this.#withBoth(path, targetFd, (both) => {
      this.#tightenOpen(both);
    });
  }

  #tightenOpen({ targetFd, wanted, actual }: Both): void {
    const access = accessBetween(actual, wanted);
    if (access === undefined) return;
    const { sys, scratch } = this.#kernel;
    // The mode first: beside an ACL its group bits are the mask, without which the ACL grants nothing.
    check(sys.fchmod(targetFd, access.mode), "fchmod");
    if (!access.forOwner) return;
    // Neither the old owner, who must not see what will be put there, nor the new one what is yet to be removed.
    const { euid, egid } = this.#traits;
    if (actual.uid !== wanted.uid)
      check(sys.fchownat(targetFd, scratch.empty, euid, egid, AT_EMPTY_PATH), "fchown");
    const removed = this.#xattrs.remove({ fd: targetFd }, ACCESS_ACL);
    if (removed !== -errno.ENODATA && !isAttributeRefusal(removed)) check(removed, "removexattr");
  }

  /** Lets the owner make names where its mode does not; `finish` puts it back. Root needs no leave. */
  unlock(fd: number): void {
    if (this.#traits.isRoot) return;
    this.#look(fd);
    const mode = this.#stat.mode & 0o7777;
    if ((mode & 0o700) !== 0o700) this.#kernel.sys.fchmod(fd, mode | 0o700);
  }

  /** Gives the directory the source's metadata where it differs. @throws EntryFailure, SysError */
  finish(path: Buffer): void {
    const targetFd = openBelow(this.#kernel, this.#targetFd, path);
    this.#withBoth(path, targetFd, (both) => {
      const { wanted, actual } = both;
      if (sameAttributes(wanted, actual)) return;
      this.#tightenOpen(both);
      this.#setter.removeOtherXattrs({ fd: targetFd }, wanted);
      this.#setter.toDescriptor(targetFd, wanted, undefined);
    });
  }

  /** Closes `targetFd`, which may be an errno. */
  #withBoth(path: Buffer, targetFd: number, work: (both: Both) => void): void {
    const { sys } = this.#kernel;
    const source = this.#source;
    const sourceFd = openBelow(this.#kernel, source.fd, path.subarray(source.path.length));
    try {
      onSource(sourceFd, "openat");
      onTarget(targetFd, "openat");
      const wanted = this.#wanted(sourceFd);
      this.#look(targetFd);
      const actual = readAttributes(this.#stat, this.#xattrs, { fd: targetFd });
      work({ targetFd, wanted: this.#rules.xattrs ? wanted : keepingXattrs(wanted, actual), actual });
    } finally {
      for (const fd of [sourceFd, targetFd]) if (fd >= 0) sys.close(fd);
    }
  }

  #wanted(sourceFd: number): Attributes {
    const { sys, scratch } = this.#kernel;
    onSource(sys.statx(sourceFd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
    const read = fromSource(() => readAttributes(this.#stat, this.#xattrs, { fd: sourceFd }));
    return asHeld(this.#rules.xattrs ? read : withoutXattrs(read), this.#traits).attributes;
  }

  #look(fd: number): void {
    const { sys, scratch } = this.#kernel;
    check(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
  }
}
