import { S_IFMT } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Scratch } from "../sys/scratch.ts";
import type { Stat } from "../sys/stat.ts";
import type { Address, Memory, Sys } from "../sys/sys.ts";

/** One extended attribute; POSIX ACLs and capabilities are xattrs too. */
export type Xattr = { name: Buffer; value: Buffer };

/** Everything about an inode but its type, content and links (P3). Xattrs are sorted by name. */
export type Attributes = {
  /** Permission bits with setuid, setgid and sticky: 0 to 07777. */
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  xattrs: readonly Xattr[];
  /** Xattrs that are there and may not be read, if any: lost, whatever the target can hold. */
  deniedXattrs?: number;
};

/** What a stat tells of them. */
export type Metadata = Pick<Attributes, "mode" | "uid" | "gid" | "mtimeNs">;

/** XATTR_SIZE_MAX and XATTR_LIST_MAX are both 65,536 (include/uapi/linux/limits.h). */
const XATTR_BYTES = 65_536;
const noXattrs: readonly Xattr[] = [];

/** Filesystem-private namespaces such as btrfs.* mean nothing on another filesystem. */
const copiedNamespaces = ["user.", "trusted.", "security.", "system.posix_acl_"];

/** xfs lists its ACLs a second time under these names (fs/xfs/xfs_xattr.c). */
const xfsAclNames = "trusted.SGI_ACL_";

function isCopied(name: string): boolean {
  return copiedNamespaces.some((prefix) => name.startsWith(prefix)) && !name.startsWith(xfsAclNames);
}

/** Access by descriptor, or by a path under /proc/self/fd for what cannot be opened (symlinks, specials). */
export type XattrDoor = { fd: number } | { path: Buffer };

/** Reads and writes xattrs of one thread; owns the buffers for names and values. */
export class XattrCalls {
  readonly #sys: Sys;
  readonly #scratch: Scratch;
  readonly #names: Memory;
  readonly #value: Memory;
  /** How many xattrs `read` found last and was not allowed to read. */
  denied = 0;

  constructor(sys: Sys, scratch: Scratch) {
    this.#sys = sys;
    this.#scratch = scratch;
    this.#names = sys.allocate(XATTR_BYTES);
    this.#value = sys.allocate(XATTR_BYTES);
  }

  /** All copied xattrs, sorted by name. Empty where the filesystem has none. */
  read(door: XattrDoor): readonly Xattr[] {
    this.denied = 0;
    const bytes = this.#list(door);
    if (bytes === 0) return noXattrs;
    const list = this.#names.bytes.subarray(0, bytes);
    const found: Xattr[] = [];
    for (let start = 0; start < bytes;) {
      const end = list.indexOf(0, start);
      const name = Buffer.from(list.subarray(start, end));
      start = end + 1;
      if (!isCopied(name.toString("latin1"))) continue;
      const value = this.get(door, name);
      if (value !== undefined) found.push({ name, value });
    }
    return found.sort((a, b) => a.name.compare(b.name));
  }

  #list(door: XattrDoor): number {
    const { address } = this.#names;
    const result =
      "fd" in door
        ? this.#sys.flistxattr(door.fd, address, XATTR_BYTES)
        : this.#sys.llistxattr(this.#scratch.at(door.path), address, XATTR_BYTES);
    if (result === -errno.EOPNOTSUPP) return 0;
    return check(result, "listxattr");
  }

  /** The value; undefined: not there (any more), or not to be read by this user (a security module, a user.* of another's directory). */
  get(door: XattrDoor, name: Buffer): Buffer | undefined {
    const { address, bytes } = this.#value;
    const nameAt = this.#scratch.at(name);
    const result =
      "fd" in door
        ? this.#sys.fgetxattr(door.fd, nameAt, address, XATTR_BYTES)
        : this.#sys.lgetxattr(this.#scratch.at(door.path), nameAt, address, XATTR_BYTES);
    if (result === -errno.ENODATA) return undefined;
    if (result === -errno.EPERM || result === -errno.EACCES || result === -errno.EOPNOTSUPP) {
      this.denied++;
      return undefined;
    }
    return Buffer.from(bytes.subarray(0, check(result, "getxattr")));
  }

  /** 0 or -errno. */
  set(door: XattrDoor, { name, value }: Xattr): number {
    this.#value.bytes.set(value);
    const nameAt: Address = this.#scratch.at(name);
    return "fd" in door
      ? this.#sys.fsetxattr(door.fd, nameAt, this.#value.address, value.length, 0)
      : this.#sys.lsetxattr(this.#scratch.at(door.path), nameAt, this.#value.address, value.length, 0);
  }

  /** 0 or -errno. */
  remove(door: XattrDoor, name: Buffer): number {
    const nameAt = this.#scratch.at(name);
    return "fd" in door
      ? this.#sys.fremovexattr(door.fd, nameAt)
      : this.#sys.lremovexattr(this.#scratch.at(door.path), nameAt);
  }
}

export function metadataOf(stat: Stat): Metadata {
  return { mode: stat.mode & ~S_IFMT, uid: stat.uid, gid: stat.gid, mtimeNs: stat.mtimeNs };
}

/** The attributes of the inode that `stat` describes and `door` reaches. */
export function readAttributes(stat: Metadata, calls: XattrCalls, door: XattrDoor): Attributes {
  const attributes: Attributes = {
    mode: stat.mode & ~S_IFMT,
    uid: stat.uid,
    gid: stat.gid,
    mtimeNs: stat.mtimeNs,
    xattrs: calls.read(door),
  };
  if (calls.denied > 0) attributes.deniedXattrs = calls.denied;
  return attributes;
}

/** What a stat alone tells. */
export function plainAttributes({ mode, uid, gid, mtimeNs }: Metadata): Attributes {
  return { mode: mode & ~S_IFMT, uid, gid, mtimeNs, xattrs: noXattrs };
}

export function sameXattrs(a: readonly Xattr[], b: readonly Xattr[]): boolean {
  return (
    a.length === b.length &&
    a.every((xattr, index) => {
      const other = b[index];
      return other !== undefined && xattr.name.equals(other.name) && xattr.value.equals(other.value);
    })
  );
}

export function sameAttributes(a: Attributes, b: Attributes): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeNs === b.mtimeNs &&
    sameXattrs(a.xattrs, b.xattrs)
  );
}
