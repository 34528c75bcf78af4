import { AT_EMPTY_PATH, O_CLOEXEC, O_NOATIME, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Stat } from "../sys/stat.ts";
import { EntryFailure, onSource } from "./errors.ts";

/** A moment of a file: two that agree mean that it was not written to between them. */
export type Moment = { sizeBytes: number; mtimeNs: bigint; ctimeNs: bigint };

/** Opens without following a symlink, without waiting for a fifo's writer, and without touching the atime where allowed. */
export function openSource(kernel: Kernel, dirFd: number, name: Buffer, more = 0): number {
  const { sys, scratch } = kernel;
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW | more;
  const fd = sys.openat(dirFd, scratch.at(name), flags | O_NOATIME, 0);
  if (fd !== -errno.EPERM) return onSource(fd, "openat");
  return onSource(sys.openat(dirFd, scratch.at(name), flags, 0), "openat");
}

export function statOpen(kernel: Kernel, fd: number, stat: Stat): Moment {
  onSource(kernel.sys.statx(fd, kernel.scratch.empty, AT_EMPTY_PATH, stat.address), "statx");
  return momentOf(stat);
}

function momentOf(stat: Stat): Moment {
  return { sizeBytes: stat.sizeBytes, mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs };
}

/** The kernel stamps with a clock that is up to 10 ms behind: a tick of it, and as much to spare. */
const FINE_NS = 20_000_000n;
/** Times of whole seconds may be of a filesystem that has no others (ext3), or only even ones (FAT). */
const COARSE_NS = 2_020_000_000n;

/**
 * Whether a write at or after `nowMs` may leave the times as they are: `nowMs` is to be taken before the moment is
 * looked at, and that before the first byte is read.
 */
export function isYoung({ mtimeNs, ctimeNs }: Omit<Moment, "sizeBytes">, nowMs: number): boolean {
  const isCoarse = mtimeNs % 1_000_000_000n === 0n && ctimeNs % 1_000_000_000n === 0n;
  const tickNs = isCoarse ? COARSE_NS : FINE_NS;
  const nowNs = BigInt(nowMs) * 1_000_000n;
  const isNear = (timeNs: bigint): boolean => timeNs > nowNs - tickNs && timeNs < nowNs + tickNs;
  return isNear(mtimeNs) || isNear(ctimeNs);
}

export function sameContentMoment(a: Moment, b: Moment): boolean {
  return a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs;
}

/** Nothing was written while it was read; or, where only the ctime moved (a new link), two readings agree. */
export function isStable(
  before: Moment,
  after: Moment,
  digest: Buffer,
  lastDigest: Buffer | undefined,
): boolean {
  if (!sameContentMoment(before, after)) return false;
  return before.ctimeNs === after.ctimeNs || (lastDigest?.equals(digest) ?? false);
}

export function unstable(): EntryFailure {
  return new EntryFailure("UNSTABLE", "it changes while it is read; run again when nothing writes to it");
}
