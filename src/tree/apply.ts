import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, S_IFLNK } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Scratch } from "../sys/scratch.ts";
import type { Sys } from "../sys/sys.ts";
import type { Attributes, XattrCalls, XattrDoor } from "./attributes.ts";
import type { TimesBuffer } from "./times.ts";
import { isAttributeRefusal } from "./traits.ts";

/** What the kernel gave a new inode, as far as it is known; undefined: unknown, set it in any case. */
export type Created = { mode: number; uid: number; gid: number } | undefined;

/**
 * Sets attributes in the order that keeps them all: owner, mode, xattrs (capabilities and ACLs among them), times
 * (chown clears setuid and capabilities; the ACL's mask is the group's mode bits).
 */
export class AttributeSetter {
  readonly #sys: Sys;
  readonly #scratch: Scratch;
  readonly #xattrs: XattrCalls;
  readonly #times: TimesBuffer;

  constructor(sys: Sys, scratch: Scratch, xattrs: XattrCalls, times: TimesBuffer) {
    this.#sys = sys;
    this.#scratch = scratch;
    this.#xattrs = xattrs;
    this.#times = times;
  }

  /**
   * On a descriptor of a regular file or a directory.
   * @returns how many xattrs the target refused.
   * @throws SysError when owner, mode or time cannot be set.
   */
  toDescriptor(fd: number, wanted: Attributes, created: Created): number {
    const chowned = created === undefined || created.uid !== wanted.uid || created.gid !== wanted.gid;
    if (chowned)
      check(this.#sys.fchownat(fd, this.#scratch.empty, wanted.uid, wanted.gid, AT_EMPTY_PATH), "fchown");
    if (created === undefined || created.mode !== wanted.mode || (chowned && (wanted.mode & 0o6000) !== 0)) {
      check(this.#sys.fchmod(fd, wanted.mode), "fchmod");
    }
    const refused = this.#setXattrs({ fd }, wanted);
    check(this.#sys.futimens(fd, this.#times.withMtime(wanted.mtimeNs)), "utimensat");
    return refused;
  }

  /** On a symlink or special just made as `name` in `dirFd`, a directory no one else can reach. */
  toName(dirFd: number, name: Buffer, type: number, wanted: Attributes): number {
    const { uid, gid, mode, mtimeNs } = wanted;
    const at = this.#scratch.at(name);
    check(this.#sys.fchownat(dirFd, at, uid, gid, AT_SYMLINK_NOFOLLOW), "fchownat");
    if (type !== S_IFLNK) check(this.#sys.fchmodat(dirFd, at, mode), "fchmodat");
    const refused = wanted.xattrs.length === 0 ? 0 : this.#setXattrs({ path: procPath(dirFd, name) }, wanted);
    check(
      this.#sys.utimensat(dirFd, this.#scratch.at(name), this.#times.withMtime(mtimeNs), AT_SYMLINK_NOFOLLOW),
      "utimensat",
    );
    return refused;
  }

  #setXattrs(door: XattrDoor, { xattrs }: Attributes): number {
    let refused = 0;
    for (const xattr of xattrs) {
      const result = this.#xattrs.set(door, xattr);
      if (result === 0) continue;
      if (!isAttributeRefusal(result)) check(result, "setxattr");
      refused++;
    }
    return refused;
  }

  /** Removes xattrs that `wanted` does not have: those a directory's default ACL or an earlier run left. */
  removeOtherXattrs(door: XattrDoor, wanted: Attributes): void {
    for (const { name } of this.#xattrs.read(door)) {
      if (wanted.xattrs.some((xattr) => xattr.name.equals(name))) continue;
      const result = this.#xattrs.remove(door, name);
      if (result !== -errno.ENODATA && !isAttributeRefusal(result)) check(result, "removexattr");
    }
  }
}

/** A path to what cannot be opened: symlinks and specials have no descriptor to hang xattrs on. */
export function procPath(dirFd: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${String(dirFd)}/`), name]);
}
