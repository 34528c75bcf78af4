import {
  BTRFS_SUPER_MAGIC,
  EXT_SUPER_MAGIC,
  TMPFS_MAGIC,
  XFS_IOC_FSGEOMETRY_V1,
  XFS_SUPER_MAGIC,
} from "../sys/constants.ts";
import { hasBirthTime } from "../sys/birth-time.ts";
import { check } from "../sys/errors.ts";
import type { Sys } from "../sys/sys.ts";

const NS_PER_SECOND = 1_000_000_000n;

/** What the target's filesystem can hold, without a trial: it may be mounted read-only. Plain data. */
export type Limits = {
  granularityNs: bigint;
  /** Times outside are held as the nearest one inside. */
  earliestSeconds: bigint | undefined;
  latestSeconds: bigint | undefined;
  /** Links to one inode; 0 where there is no limit to be met. */
  links: number;
};

const earliest32 = -(2n ** 31n);
const latest32 = 2n ** 31n - 1n;
/** XFS_FSOP_GEOM_FLAGS_BIGTIME at offset 92 of struct xfs_fsop_geom_v1 (fs/xfs/libxfs/xfs_fs.h). */
const XFS_FLAGS_AT = 92;
const XFS_FLAG_BIGTIME = 1 << 21;
/** Of filesystems that are not known here: NTFS's, the lowest one in use. */
const UNKNOWN_LINK_LIMIT = 1024;

const unlimited = { granularityNs: 1n, earliestSeconds: undefined, latestSeconds: undefined };

/** f_type of struct statfs. @throws SysError */
export function magicOf(sys: Sys, fd: number): number {
  const memory = sys.allocate(256);
  check(sys.fstatfs(fd, memory.address), "fstatfs");
  return memory.bytes.readUInt32LE(0);
}

/** Whether d_ino is st_ino, for all but mount points. */
export function trustsDirentIno(magic: number): boolean {
  return [EXT_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC].includes(magic);
}

/** `recordedNs`: the granularity that the store found by trial when it was made. @throws SysError */
export function limitsOf(sys: Sys, fd: number, recordedNs: bigint | undefined): Limits {
  switch (magicOf(sys, fd)) {
    case EXT_SUPER_MAGIC:
      // Inodes of 128 bytes have room neither for a time of birth nor for fractions of a second.
      return hasBirthTime(fd)
        ? { granularityNs: 1n, earliestSeconds: earliest32, latestSeconds: 15_032_385_535n, links: 65_000 }
        : {
            granularityNs: NS_PER_SECOND,
            earliestSeconds: earliest32,
            latestSeconds: latest32,
            links: 65_000,
          };
    case XFS_SUPER_MAGIC:
      return {
        ...unlimited,
        earliestSeconds: earliest32,
        latestSeconds: hasBigTime(sys, fd) ? 16_299_260_424n : latest32,
        links: 0,
      };
    case BTRFS_SUPER_MAGIC:
      return { ...unlimited, links: 65_535 };
    case TMPFS_MAGIC:
      return { ...unlimited, links: 0 };
    default:
      return { ...unlimited, granularityNs: recordedNs ?? 1n, links: UNKNOWN_LINK_LIMIT };
  }
}

function hasBigTime(sys: Sys, fd: number): boolean {
  const memory = sys.allocate(256);
  if (sys.ioctl(fd, XFS_IOC_FSGEOMETRY_V1, memory.address) < 0) return true;
  return (memory.bytes.readUInt32LE(XFS_FLAGS_AT) & XFS_FLAG_BIGTIME) !== 0;
}

/** The time as the filesystem gives it back: clamped, then rounded down (timestamp_truncate in the kernel). */
export function heldTime(timeNs: bigint, { granularityNs, earliestSeconds, latestSeconds }: Limits): bigint {
  if (earliestSeconds !== undefined && timeNs <= earliestSeconds * NS_PER_SECOND)
    return earliestSeconds * NS_PER_SECOND;
  if (latestSeconds !== undefined && timeNs >= latestSeconds * NS_PER_SECOND)
    return latestSeconds * NS_PER_SECOND;
  const over = ((timeNs % granularityNs) + granularityNs) % granularityNs;
  return timeNs - over;
}

/**
 * Whether an inode has so many links that a further one may have been refused, or withheld to leave room for the next
 * `cp -al`: at least half of what the filesystem allows, less what threads may have had under way. Two that have fewer
 * together are made one by compact.
 */
export function isNearLimit(links: number, limits: Limits): boolean {
  return limits.links > 0 && links >= limits.links / 2 - 256;
}
