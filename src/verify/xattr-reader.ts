import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Memory } from "../sys/sys.ts";

/** Names and values as latin1 strings, a character a byte; sorted by name. */
export type XattrPair = readonly [name: string, value: string];

/** XATTR_SIZE_MAX and XATTR_LIST_MAX (include/uapi/linux/limits.h). */
const MOST_BYTES = 65_536;
const none: readonly XattrPair[] = [];

/** What else a filesystem lists (btrfs.*, the second face of xfs's ACLs) belongs to it and not to the file. */
const compared = /^(?:user\.|trusted\.(?!SGI_ACL_)|security\.|system\.posix_acl_)/;

/** Reads extended attributes, ACLs and capabilities among them; one per thread. */
export class XattrReader {
  readonly #kernel: Kernel;
  readonly #list: Memory;
  readonly #value: Memory;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#list = kernel.sys.allocate(MOST_BYTES);
    this.#value = kernel.sys.allocate(MOST_BYTES);
  }

  /** Of an open file or directory. @throws SysError */
  ofDescriptor(fd: number): readonly XattrPair[] {
    const { sys } = this.#kernel;
    return this.#all(sys.flistxattr(fd, this.#list.address, MOST_BYTES), (name) =>
      sys.fgetxattr(fd, name, this.#value.address, MOST_BYTES),
    );
  }

  /** Of what cannot be opened: symlinks and specials. @throws SysError */
  ofName(dirFd: number, name: string): readonly XattrPair[] {
    const { sys, scratch } = this.#kernel;
    const path = Buffer.from(`/proc/self/fd/${String(dirFd)}/${name}`, "latin1");
    return this.#all(sys.llistxattr(scratch.at(path), this.#list.address, MOST_BYTES), (attribute) =>
      sys.lgetxattr(scratch.at(path), attribute, this.#value.address, MOST_BYTES),
    );
  }

  #all(listed: number, get: (name: number) => number): readonly XattrPair[] {
    if (listed === -errno.EOPNOTSUPP || listed === 0) return none;
    const names = this.#list.bytes.toString("latin1", 0, check(listed, "listxattr"));
    const found: XattrPair[] = [];
    for (const name of names.split("\0")) {
      if (!compared.test(name)) continue;
      const got = get(this.#kernel.scratch.at(Buffer.from(name, "latin1")));
      // Gone since it was listed. What may not be read is a failure: nothing is known of it.
      if (got === -errno.ENODATA) continue;
      found.push([name, this.#value.bytes.toString("latin1", 0, check(got, "getxattr"))]);
    }
    return found.sort(([a], [b]) => (a < b ? -1 : 1));
  }
}
