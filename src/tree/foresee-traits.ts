import {
  BTRFS_SUPER_MAGIC,
  EXT_SUPER_MAGIC,
  S_IFCHR,
  XFS_IOC_FSGEOMETRY_V1,
  XFS_SUPER_MAGIC,
} from "../sys/constants.ts";
import { hasBirthTime } from "../sys/birth-time.ts";
import { errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { makeDevice } from "../sys/stat.ts";
import type { Sys } from "../sys/sys.ts";
import { XattrCalls } from "./attributes.ts";
import { filesystemMagic, linkLimits, probeTraits, type TargetTraits } from "./traits.ts";

/** What a run would find by trial, as far as it can be known without one. */
export type ForeseenTraits = TargetTraits & {
  /** Whether this user may make device nodes. */
  makesDevices: boolean;
  /** Whether files of one filesystem can share extents here (FICLONE). */
  clones: boolean;
  blockBytes: number;
};

/** A place of our own, where everything may be tried. */
type Trial = { kernel: Kernel; dirFd: number };

/**
 * Asks the target without changing it, and tries in the trial directory what depends on the user alone.
 * @throws SysError
 */
export function foreseeTraits(
  targetFd: number,
  trial: Trial,
  granularityNs: bigint | undefined,
): ForeseenTraits {
  const { sys, scratch } = trial.kernel;
  const here = probeTraits({
    ...trial.kernel,
    xattrs: new XattrCalls(sys, scratch),
    dirFd: trial.dirFd,
  });
  const memory = sys.allocate(256);
  const magic = filesystemMagic(sys, targetFd, memory);
  const blockBytes = Number(memory.bytes.readBigUInt64LE(8));
  const xfs = magic === XFS_SUPER_MAGIC ? xfsFlags(sys, targetFd) : 0;
  const times = foreseeTimes(magic, targetFd, xfs);
  return {
    ...here,
    ...times,
    granularityNs: granularityNs ?? times.granularityNs,
    xattrPrefixes: foreseeXattrs(targetFd, trial, here),
    linkLimit: linkLimits.get(magic) ?? 0,
    makesDevices: makesDevices(trial),
    clones: magic === BTRFS_SUPER_MAGIC || (xfs & XFS_FLAG_REFLINK) !== 0,
    blockBytes,
  };
}

/** XFS_FSOP_GEOM_FLAGS_* at offset 92 of struct xfs_fsop_geom_v1 (fs/xfs/libxfs/xfs_fs.h). */
const XFS_FLAGS_AT = 92;
const XFS_FLAG_REFLINK = 1 << 20;
const XFS_FLAG_BIGTIME = 1 << 21;

function xfsFlags(sys: Sys, fd: number): number {
  const memory = sys.allocate(256);
  return sys.ioctl(fd, XFS_IOC_FSGEOMETRY_V1, memory.address) < 0
    ? XFS_FLAG_BIGTIME
    : memory.bytes.readUInt32LE(XFS_FLAGS_AT);
}

const earliest32 = -(2n ** 31n);
const latest32 = 2n ** 31n - 1n;
/** As far as probeTraits tries: 400 years back, 8,000 ahead. */
const earliestTried = -400n * 365n * 86_400n;
const latestTried = 8000n * 365n * 86_400n;

/** Ranges as the drivers set them: EXT4_EXTRA_TIMESTAMP_MAX, XFS_BIGTIME_TIME_MAX less its epoch. */
function foreseeTimes(magic: number, targetFd: number, xfs: number) {
  const fine = { granularityNs: 1n, earliestSeconds: earliest32 };
  if (magic === EXT_SUPER_MAGIC && hasBirthTime(targetFd)) return { ...fine, latestSeconds: 15_032_385_535n };
  if (magic === EXT_SUPER_MAGIC)
    return { granularityNs: 1_000_000_000n, earliestSeconds: earliest32, latestSeconds: latest32 };
  if (magic === XFS_SUPER_MAGIC)
    return { ...fine, latestSeconds: (xfs & XFS_FLAG_BIGTIME) === 0 ? latest32 : 16_299_260_424n };
  return { granularityNs: 1n, earliestSeconds: earliestTried, latestSeconds: latestTried };
}

/** An xattr that is not there is answered ENODATA where its kind is known, EOPNOTSUPP where it is not. */
const questions: readonly (readonly [string, string])[] = [
  ["user.", "user.dedupe"],
  ["trusted.", "trusted.dedupe"],
  ["security.capability", "security.capability"],
  ["system.posix_acl_", "system.posix_acl_access"],
  ["security.", "security.dedupe"],
];

function foreseeXattrs(targetFd: number, { kernel, dirFd }: Trial, here: TargetTraits): string[] {
  const { sys, scratch } = kernel;
  const memory = sys.allocate(65_536);
  const knows = (fd: number, name: string): boolean => {
    const result = sys.fgetxattr(fd, scratch.text(name), memory.address, memory.bytes.length);
    return result >= 0 || result === -errno.ENODATA;
  };
  const mayNoTrial = (prefix: string): boolean =>
    here.isRoot || prefix === "user." || prefix.startsWith("system.");
  return questions
    .filter(([prefix, name]) => {
      const may = knows(dirFd, name) ? here.xattrPrefixes.includes(prefix) : mayNoTrial(prefix);
      return may && knows(targetFd, name);
    })
    .map(([prefix]) => prefix);
}

function makesDevices({ kernel, dirFd }: Trial): boolean {
  const { sys, scratch } = kernel;
  const name = Buffer.from("device");
  const made = sys.mknodat(dirFd, scratch.at(name), S_IFCHR | 0o600, makeDevice(1, 3));
  if (made === 0) sys.unlinkat(dirFd, scratch.at(name), 0);
  return made === 0;
}
