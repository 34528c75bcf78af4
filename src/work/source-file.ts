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

export function momentOf(stat: Stat): Moment {
  return { sizeBytes: stat.sizeBytes, mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs };
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
