import { O_CLOEXEC, O_RDONLY, SEEK_DATA, SEEK_HOLE } from "../sys/constants.ts";
import { openQuietly } from "../sys/files.ts";
import type { Sys } from "../sys/sys.ts";
import type { Destination } from "./place.ts";
import type { Thread } from "./thread.ts";

const BLOCK_BYTES = 4096;

/**
 * Whether an aligned hole of the file behind `fd` is data in the object of `thread.ref` (P3): relink takes inodes into
 * the store as they are, and an earlier copy may have filled their holes. Where a filesystem cannot tell, no.
 */
export function objectLosesHoles(thread: Thread, fd: number, sizeBytes: number): boolean {
  const { sys, session, ref } = thread;
  const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
  const objectFd = openQuietly(sys, session.directoryOf(ref), ref.format(), flags);
  if (objectFd < 0) return false;
  const isLost = losesHoles(sys, { fd, otherFd: objectFd, sizeBytes });
  sys.close(objectFd);
  return isLost;
}

/** Whether what was just made (`thread.targetStat`) has holes that the object lacks: it then takes the object's place. */
export function isHoleyUnlikeObject(thread: Thread, at: Destination, sizeBytes: number): boolean {
  const { sys, scratch, targetStat } = thread;
  if (targetStat.blocks * 512 >= sizeBytes) return false;
  const fd = openQuietly(sys, at.fd, scratch.at(at.name), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW);
  if (fd < 0) return false;
  const isHoley = objectLosesHoles(thread, fd, sizeBytes);
  sys.close(fd);
  return isHoley;
}

/** Whether an aligned hole of the one file is data in the other. */
export function losesHoles(sys: Sys, files: { fd: number; otherFd: number; sizeBytes: number }): boolean {
  const { fd, otherFd, sizeBytes } = files;
  for (let at = 0; at < sizeBytes;) {
    const hole = sys.lseek(fd, at, SEEK_HOLE);
    if (hole < 0 || hole >= sizeBytes) return false;
    const data = sys.lseek(fd, hole, SEEK_DATA);
    const end = data < 0 ? sizeBytes : data;
    const first = Math.ceil(hole / BLOCK_BYTES) * BLOCK_BYTES;
    const last = Math.floor(end / BLOCK_BYTES) * BLOCK_BYTES;
    if (first < last) {
      const other = sys.lseek(otherFd, first, SEEK_DATA);
      if (other >= 0 && other < last) return true;
    }
    at = Math.max(end, at + 1);
  }
  return false;
}
