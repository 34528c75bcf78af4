import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isEmptyDirectory } from "../tree/count.ts";

/**
 * What stood under a name when that was looked at ("": nothing), as text that a name in staging/ can hold: a number
 * alone is another file's as soon as its inode's last name went, and a file may be written to. Of a directory, whose
 * times move with what is in it, it is the number, and whether it may be removed with its names or must be empty.
 */
export type Seen = string;
export type Holding = "any" | "empty";

export function seenIn(stat: Stat, holding: Holding): Seen {
  if (stat.isDirectory) return `${String(stat.ino)}_${holding}`;
  return `${String(stat.ino)}_${String(stat.sizeBytes)}_${String(stat.mtimeNs)}`;
}

/** Whether the name is still, or again, what was seen. */
export function isStill(kernel: Kernel, dirFd: number, name: Buffer, seen: Seen): boolean {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const looked = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
  if (looked < 0 || !isOf(stat, seen)) return false;
  return !mustBeEmpty(stat, seen) || isEmptyDirectory(kernel, dirFd, name);
}

/** As `isStill`, of an inode that was looked at; what is in a directory is not asked. */
export function isOf(stat: Stat, seen: Seen): boolean {
  return seen === seenIn(stat, "empty") || seen === seenIn(stat, "any");
}

/** Whether it is a directory that may go only as long as it holds nothing. */
export function mustBeEmpty(stat: Stat, seen: Seen): boolean {
  return stat.isDirectory && seen === seenIn(stat, "empty");
}
