import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isEmptyDirectory } from "../tree/count.ts";

/**
 * What stood under a name when that was looked at ("": nothing), as text that a name in staging/ can hold. A number
 * alone is another file's as soon as its inode's last name went, and a file may be written to. Of a directory, whose
 * times move with what is in it, it is the number, and that it must be empty where it may not be removed with its names.
 */
export type Seen = string;

export function seenIn(stat: Stat, mayBeFull: boolean): Seen {
  if (stat.isDirectory) return `${String(stat.ino)}${mayBeFull ? "" : "_empty"}`;
  return `${String(stat.ino)}_${String(stat.sizeBytes)}_${String(stat.mtimeNs)}`;
}

/** Whether the name is still, or again, what was seen; a number alone is taken for any state of its inode. */
export function isStill(kernel: Kernel, dirFd: number, name: Buffer, seen: Seen): boolean {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const looked = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
  if (looked < 0 || !isOf(stat, seen)) return false;
  return !stat.isDirectory || seen === String(stat.ino) || isEmptyDirectory(kernel, dirFd, name);
}

/** As `isStill`, of an inode that was looked at; what is in a directory is not asked. */
export function isOf(stat: Stat, seen: Seen): boolean {
  return seen === String(stat.ino) || seen === seenIn(stat, false);
}
