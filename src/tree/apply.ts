import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, S_IFLNK } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Scratch } from "../sys/scratch.ts";
import type { Sys } from "../sys/sys.ts";
import { isAccessAcl, modeWithoutAcl } from "./acl.ts";
import type { Attributes, XattrCalls, XattrDoor } from "./attributes.ts";
import { isShortage } from "./shortage.ts";
import type { TimesBuffer } from "./times.ts";
import { isAttributeRefusal } from "./traits.ts";

/** What the kernel gave a new inode, as far as it is known; undefined: unknown, set it in any case. */
export type Created = { mode: number; uid: number; gid: number } | undefined;

/** How many xattrs the target refused, and whether an ACL is among those it took. */
type XattrsSet = { refused: number; hasAcl: boolean };
const noneSet: XattrsSet = { refused: 0, hasAcl: false };

/**
 * Sets attributes in the order that keeps them all: owner, mode, xattrs (capabilities and ACLs among them), times
 * (chown clears setuid and capabilities). The ACL's mask is the group's mode bits: until the ACL is there these are
 * what the group itself has, so that it never has more, also where the ACL is refused (P10).
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
   * @throws SysError when owner, mode or time cannot be set, or the target has no room for an xattr.
   */
  toDescriptor(fd: number, wanted: Attributes, created: Created): number {
    const chowned = created === undefined || created.uid !== wanted.uid || created.gid !== wanted.gid;
    if (chowned)
      check(this.#sys.fchownat(fd, this.#scratch.empty, wanted.uid, wanted.gid, AT_EMPTY_PATH), "fchown");
    const mode = modeWithoutAcl(wanted);
    if (created === undefined || created.mode !== mode || (chowned && (mode & 0o6000) !== 0)) {
      check(this.#sys.fchmod(fd, mode), "fchmod");
    }
    const { refused, hasAcl } = this.#setXattrs({ fd }, fd, wanted);
    if (hasAcl && mode !== wanted.mode) check(this.#sys.fchmod(fd, wanted.mode), "fchmod");
    check(this.#sys.futimens(fd, this.#times.withMtime(wanted.mtimeNs)), "utimensat");
    return refused;
  }

  /** On a symlink or special just made as `name` in `dirFd`, a directory no one else can reach. */
  toName(dirFd: number, name: Buffer, type: number, wanted: Attributes): number {
    const { uid, gid, mtimeNs } = wanted;
    const mode = modeWithoutAcl(wanted);
    const at = this.#scratch.at(name);
    check(this.#sys.fchownat(dirFd, at, uid, gid, AT_SYMLINK_NOFOLLOW), "fchownat");
    if (type !== S_IFLNK) check(this.#sys.fchmodat(dirFd, at, mode), "fchmodat");
    const { refused, hasAcl } =
      wanted.xattrs.length === 0 ? noneSet : this.#setXattrs({ path: procPath(dirFd, name) }, dirFd, wanted);
    if (hasAcl && mode !== wanted.mode)
      check(this.#sys.fchmodat(dirFd, this.#scratch.at(name), wanted.mode), "fchmodat");
    check(
      this.#sys.utimensat(dirFd, this.#scratch.at(name), this.#times.withMtime(mtimeNs), AT_SYMLINK_NOFOLLOW),
      "utimensat",
    );
    return refused;
  }

  /** `fd`: of the same filesystem. What a full disk refuses, an empty one may take: that is no refusal. */
  #setXattrs(door: XattrDoor, fd: number, { xattrs }: Attributes): XattrsSet {
    let [refused, hasAcl] = [0, false];
    for (const xattr of xattrs) {
      const result = this.#xattrs.set(door, xattr);
      const isRefused = result !== 0 && isAttributeRefusal(result);
      if (!isRefused || isShortage(this.#sys, fd, result, xattrs)) check(result, "setxattr");
      if (result !== 0) refused++;
      else if (isAccessAcl(xattr)) hasAcl = true;
    }
    return { refused, hasAcl };
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
