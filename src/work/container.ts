import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check, isSysError } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { componentsOf, makeBelow, openBelow } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import { replaceSeen, type SeenExchange } from "./exchange.ts";
import { seenIn } from "./seen.ts";

const STAGED = Buffer.from("container");

type Folders = { targetFd: number; stagingFd: number };

/**
 * Opens a container on the target, made where it is missing. A file or symlink that stands in its way gives way, as it
 * does to a snapshot. @throws SysError, EntryFailure
 */
export function openContainer(kernel: Kernel, folders: Folders, path: Buffer): number {
  try {
    return makeBelow(kernel, folders.targetFd, path);
  } catch (error) {
    if (!isSysError(error, "ENOTDIR", "ELOOP")) throw error;
  }
  clearWay(kernel, folders, path);
  return makeBelow(kernel, folders.targetFd, path);
}

/** Exchanges the first name on the way that is no directory for an empty one. */
function clearWay(kernel: Kernel, { targetFd, stagingFd }: Folders, path: Buffer): void {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  let parentFd = check(openBelow(kernel, targetFd, Buffer.alloc(0)), "openat");
  try {
    for (const name of componentsOf(path)) {
      check(sys.statx(parentFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
      if (!stat.isDirectory) {
        giveWay(kernel, { stagingFd, staged: STAGED, dirFd: parentFd, name, seen: seenIn(stat, "empty") });
        return;
      }
      const next = check(openBelow(kernel, parentFd, name), "openat", name);
      sys.close(parentFd);
      parentFd = next;
    }
  } finally {
    sys.close(parentFd);
  }
}

/** What comes out must be what was seen (P2). */
function giveWay(kernel: Kernel, at: SeenExchange): void {
  const { sys, scratch } = kernel;
  const { stagingFd, staged, name } = at;
  check(sys.mkdirat(stagingFd, scratch.at(staged), 0o700), "mkdirat", name);
  try {
    replaceSeen(kernel, at);
  } catch (error) {
    removeTree(kernel, stagingFd, staged);
    throw error;
  }
}
