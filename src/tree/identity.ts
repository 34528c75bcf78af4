import {
  BTRFS_SUPER_MAGIC,
  EXT_SUPER_MAGIC,
  FS_IOC_GETFSUUID,
  XFS_IOC_FSGEOMETRY_V1,
  XFS_SUPER_MAGIC,
} from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Address, Memory, Sys } from "../sys/sys.ts";
import { filesystemMagic, trustsDirentIno } from "./traits.ts";

const IDENTITY_BYTES = 16;

/** A filesystem as seen from a directory in it. */
export type Filesystem = {
  device: number;
  /** Made of the UUID and the btrfs subvolume: holds across mounts. All zero: none is known, nothing may outlive the run. */
  identity: Buffer;
  /** d_ino is st_ino here (for all but mount points). */
  trustsDirentIno: boolean;
};

/**
 * Reads what identifies the filesystem of `fd`, the same under every kernel: an identity that changed with an update
 * of the kernel would read as a drive that was lost. `memory` needs 512 bytes.
 * @throws SysError when the filesystem does not answer.
 */
export function identifyFilesystem(sys: Sys, fd: number, device: number, memory: Memory): Filesystem {
  const magic = filesystemMagic(sys, fd, memory);
  const identity = Buffer.alloc(IDENTITY_BYTES);
  if (magic === EXT_SUPER_MAGIC || magic === BTRFS_SUPER_MAGIC) {
    // struct statfs: f_fsid follows seven 8-byte fields. These two make it from the UUID (and the subvolume).
    identity.set(memory.bytes.subarray(56, 64), 8);
  } else {
    identity.set(readUuid(sys, fd, magic, memory) ?? []);
  }
  return { device, identity, trustsDirentIno: trustsDirentIno(magic) };
}

function readUuid(sys: Sys, fd: number, magic: number, memory: Memory): Buffer | undefined {
  memory.bytes.fill(0, 0, 32);
  if (magic === XFS_SUPER_MAGIC) {
    if (sys.ioctl(fd, XFS_IOC_FSGEOMETRY_V1, memory.address) !== 0) return undefined;
    return Buffer.from(memory.bytes.subarray(64, 80));
  }
  // struct fsuuid2: a length byte, then the UUID (include/uapi/linux/fs.h, Linux 6.9).
  if (sys.ioctl(fd, FS_IOC_GETFSUUID, memory.address) !== 0 || memory.bytes[0] !== 16) return undefined;
  return Buffer.from(memory.bytes.subarray(1, 17));
}

const HANDLE_BYTES = 128;

/** Reads inode generations; one per thread. */
export class Generations {
  readonly #sys: Sys;
  readonly #memory: Memory;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#memory = sys.allocate(8 + HANDLE_BYTES + 8);
  }

  /**
   * A number that changes when the inode number is given to a new file: the file handle, which holds ino and
   * generation (name_to_handle_at(2)), folded by FNV-1a. 0 where the filesystem has no handles.
   */
  of(dirFd: number, name: Address): number {
    const { bytes, address } = this.#memory;
    bytes.writeUInt32LE(HANDLE_BYTES, 0);
    const mountId = address + 8 + HANDLE_BYTES;
    if (this.#sys.nameToHandleAt(dirFd, name, address, mountId, 0) < 0) return 0;
    const length = bytes.readUInt32LE(0);
    let hash = 0x811c9dc5;
    for (let at = 4; at < 8 + length; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    return hash >>> 0;
  }
}

export function isLasting(identity: Uint8Array): boolean {
  return identity.some((byte) => byte !== 0);
}

/** `hasInodes` is false for a filesystem that does not count them (btrfs, many in user space), and `inodes` 0 then. */
type Space = { bytes: number; inodes: number; hasInodes: boolean };

/** @throws SysError when the descriptor's filesystem does not answer. */
export function freeSpace(sys: Sys, fd: number, memory: Memory): Space {
  const { blockBytes, available, inodes, freeInodes } = statFilesystem(sys, fd, memory);
  return { bytes: available * blockBytes, inodes: freeInodes, hasInodes: inodes > 0 };
}

/** As `freeSpace`, for who is root with what is reserved for root. @throws SysError when the filesystem does not answer. */
export function usableSpace(sys: Sys, fd: number, memory: Memory): Space {
  const { blockBytes, freeBlocks, available, inodes, freeInodes } = statFilesystem(sys, fd, memory);
  const blocks = sys.geteuid() === 0 ? freeBlocks : available;
  return { bytes: blocks * blockBytes, inodes: freeInodes, hasInodes: inodes > 0 };
}

/**
 * ext4 keeps so many blocks from everybody, or 2% of all (fs/ext4/super.c, ext4_calculate_resv_clusters). What it tells
 * of all blocks is without its own, up to a fifth of a small filesystem: hence 3%.
 */
const KEPT_BLOCKS = 4096;
const KEPT_SHARE = 0.03;

/**
 * Whether this user gets no block any more. Root gets those that are reserved for it.
 * @throws SysError when the descriptor's filesystem does not answer.
 */
export function isFull(sys: Sys, fd: number, memory: Memory): boolean {
  const { blocks, freeBlocks, available } = statFilesystem(sys, fd, memory);
  if (available > 0) return false;
  return sys.geteuid() !== 0 || freeBlocks <= Math.min(KEPT_BLOCKS, blocks * KEPT_SHARE);
}

/** @throws SysError when the descriptor's filesystem does not answer. */
export function usedSpace(sys: Sys, fd: number, memory: Memory): Space {
  const { blockBytes, blocks, freeBlocks, inodes, freeInodes } = statFilesystem(sys, fd, memory);
  return { bytes: (blocks - freeBlocks) * blockBytes, inodes: inodes - freeInodes, hasInodes: inodes > 0 };
}

/** struct statfs of statfs(2) on 64-bit: type, bsize, blocks, bfree, bavail, files, ffree. */
function statFilesystem(sys: Sys, fd: number, memory: Memory) {
  check(sys.fstatfs(fd, memory.address), "fstatfs");
  const at = (index: number): number => Number(memory.bytes.readBigUInt64LE(index * 8));
  return {
    blockBytes: at(1),
    blocks: at(2),
    freeBlocks: at(3),
    available: at(4),
    inodes: at(5),
    freeInodes: at(6),
  };
}

/** How much a filesystem must have free. */
export type Room = { bytes: number; inodes: number };

export function hasRoom(sys: Sys, fd: number, room: Room): boolean {
  const { bytes, inodes, hasInodes } = freeSpace(sys, fd, sys.allocate(256));
  return bytes >= room.bytes && (!hasInodes || inodes >= room.inodes);
}
