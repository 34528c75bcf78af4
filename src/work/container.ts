import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check, isSysError } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { componentsOf, makeBelow, openBelow } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import { changed, exchangeAgain } from "./exchange.ts";

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
  for (const name of componentsOf(path)) {
    check(sys.statx(parentFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
    if (!stat.isDirectory) {
      giveWay(kernel, { stagingFd, dirFd: parentFd, name, expectedIno: stat.ino });
      break;
    }
    const next = check(openBelow(kernel, parentFd, name), "openat", name);
    sys.close(parentFd);
    parentFd = next;
  }
  sys.close(parentFd);
}

/** What comes out must be what was seen (P2). */
function giveWay(
  kernel: Kernel,
  {
    stagingFd,
    dirFd,
    name,
    expectedIno,
  }: { stagingFd: number; dirFd: number; name: Buffer; expectedIno: bigint },
): void {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const both = { stagingFd, staged: STAGED, dirFd, name };
  check(sys.mkdirat(stagingFd, scratch.at(STAGED), 0o700), "mkdirat", name);
  try {
    exchangeAgain(kernel, both);
  } catch (error) {
    removeTree(kernel, stagingFd, STAGED);
    throw error;
  }
  check(sys.statx(stagingFd, scratch.at(STAGED), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
  const isExpected = stat.ino === expectedIno;
  if (!isExpected) exchangeAgain(kernel, both);
  removeTree(kernel, stagingFd, STAGED);
  if (!isExpected) throw changed();
}
