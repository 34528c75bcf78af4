import { XFS_SUPER_MAGIC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Sys } from "../sys/sys.ts";
import type { Xattr } from "./attributes.ts";
import { isFull } from "./identity.ts";
import { filesystemMagic } from "./traits.ts";

/** A block holds a header and may hold a security module's label besides; each xattr has a header of its own. */
const BLOCK_BYTES = 4096;
const OTHERS_BYTES = 300;
const HEADER_BYTES = 24;

/**
 * Whether setxattr's errno means that the target has no room, as opposed to "too large for this filesystem": ext4 and
 * btrfs say ENOSPC for both. What fits into a block is too large for none, and xfs has another errno for it.
 */
export function isShortage(sys: Sys, fd: number, result: number, xattrs: readonly Xattr[]): boolean {
  if (result === -errno.EDQUOT) return true;
  if (result !== -errno.ENOSPC) return false;
  const memory = sys.allocate(256);
  if (filesystemMagic(sys, fd, memory) === XFS_SUPER_MAGIC) return true;
  const blockBytes = Math.min(BLOCK_BYTES, Number(memory.bytes.readBigUInt64LE(8)));
  const neededBytes = xattrs.reduce(
    (sum, { name, value }) => sum + HEADER_BYTES + name.length + value.length,
    OTHERS_BYTES,
  );
  return neededBytes <= blockBytes || isFull(sys, fd, memory);
}
