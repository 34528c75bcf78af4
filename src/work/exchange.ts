import { AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE, RENAME_NOREPLACE } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { TimesBuffer } from "../tree/times.ts";
import { removeTree } from "../tree/remove.ts";
import { EntryFailure, onTarget } from "./errors.ts";
import { isOf, isStill, type Seen } from "./seen.ts";
import { exchangedName, isStranger } from "./staged-name.ts";

/** Whether a rename with flags was refused because the filesystem or the kernel does not know them (renameat2(2)). */
export const takesNoFlags = (result: number): boolean =>
  [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP].includes(-result);

/** Two names: one in staging/, and the one that it is to take. */
type Exchange = { stagingFd: number; staged: Buffer; dirFd: number; name: Buffer };
/** And what that was when it was looked at. */
export type SeenExchange = Exchange & { seen: Seen };

/** What the two names were before. */
type Both = { comes: Stat; goes: Stat };

/**
 * Exchanges two names, so that what comes out can be looked at: it should be what was seen. Where the filesystem
 * cannot, the name is renamed over, which leaves nothing in staging/ ("replaced").
 * @returns 0 or -errno of RENAME_EXCHANGE, or "replaced". @throws EntryFailure, RunFailure
 */
export function exchange(kernel: Kernel, at: SeenExchange): number | "replaced" {
  const { sys, scratch } = kernel;
  const { stagingFd, staged, dirFd, name } = at;
  const both = lookAtBoth(kernel, at);
  if (!isOf(both.goes, at.seen)) throw changed();
  const result = atOnce(kernel, at, both);
  if (!takesNoFlags(result)) return result;
  // Nothing comes out here that could be looked at.
  if (!isOf(look(kernel, dirFd, name), at.seen)) throw changed();
  if (both.comes.isDirectory || both.goes.isDirectory) return byWayOfAThird(kernel, at);
  onTarget(sys.renameat2(stagingFd, scratch.at(staged), dirFd, scratch.at(name), 0), "renameat2");
  return "replaced";
}

function lookAtBoth(kernel: Kernel, { stagingFd, staged, dirFd, name }: Exchange): Both {
  return { comes: look(kernel, stagingFd, staged), goes: look(kernel, dirFd, name) };
}

function look({ sys, scratch }: Kernel, dirFd: number, name: Buffer): Stat {
  const stat = new Stat(sys);
  onTarget(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
  return stat;
}

/** As `exchange`, whatever the two are; and back. @throws EntryFailure, RunFailure */
export function exchangeAgain(kernel: Kernel, at: Exchange): void {
  const result = atOnce(kernel, at, lookAtBoth(kernel, at));
  onTarget(takesNoFlags(result) ? byWayOfAThird(kernel, at) : result, "renameat2");
}

/**
 * Puts the staged entry, whose name the next run looks for, in the place of what was seen there, which goes. What turns
 * out to be something else is put back. @throws EntryFailure, RunFailure, SysError
 */
export function replaceSeen(kernel: Kernel, at: SeenExchange): void {
  const { stagingFd, staged, seen } = at;
  const named = exchangedName(seen, look(kernel, stagingFd, staged).ino);
  onTarget(renameStaged(kernel, stagingFd, staged, named), "renameat2");
  try {
    exchangeAgain(kernel, { ...at, staged: named });
    if (!isStill(kernel, stagingFd, named, seen)) {
      exchangeAgain(kernel, { ...at, staged: named });
      throw changed();
    }
  } catch (error) {
    if (!isStranger(kernel, stagingFd, named)) renameStaged(kernel, stagingFd, named, staged);
    throw error;
  }
  removeTree(kernel, stagingFd, named);
}

/** @returns 0 or -errno */
export function renameStaged({ sys, scratch }: Kernel, stagingFd: number, from: Buffer, to: Buffer): number {
  return sys.renameat2(stagingFd, scratch.at(from), stagingFd, scratch.at(to), RENAME_NOREPLACE);
}

function atOnce(kernel: Kernel, at: Exchange, { comes, goes }: Both): number {
  const { sys, scratch } = kernel;
  const { stagingFd, staged, dirFd, name } = at;
  const result = sys.renameat2(stagingFd, scratch.at(staged), dirFd, scratch.at(name), RENAME_EXCHANGE);
  if (result < 0) return result;
  keepTime(kernel, dirFd, name, comes);
  keepTime(kernel, stagingFd, staged, goes);
  return result;
}

/** xfs touches a directory that is exchanged into another parent. Where its time cannot be set the next run does it. */
function keepTime({ sys, scratch }: Kernel, dirFd: number, name: Buffer, was: Stat): void {
  if (!was.isDirectory) return;
  const stat = new Stat(sys);
  if (sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return;
  if (!stat.isDirectory || stat.ino !== was.ino || stat.mtimeNs === was.mtimeNs) return;
  sys.utimensat(dirFd, scratch.at(name), new TimesBuffer(sys).withMtime(was.mtimeNs), AT_SYMLINK_NOFOLLOW);
}

/**
 * For directories, which rename(2) does not put in the place of something else. The name is missing for a moment; a
 * kill just then leaves it to the next run.
 */
function byWayOfAThird({ sys, scratch }: Kernel, { stagingFd, staged, dirFd, name }: Exchange): number {
  const third = Buffer.concat([Buffer.from("x."), staged]);
  const out = sys.renameat2(dirFd, scratch.at(name), stagingFd, scratch.at(third), RENAME_NOREPLACE);
  if (out < 0) return out;
  const put = sys.renameat2(stagingFd, scratch.at(staged), dirFd, scratch.at(name), RENAME_NOREPLACE);
  if (put === 0)
    return sys.renameat2(stagingFd, scratch.at(third), stagingFd, scratch.at(staged), RENAME_NOREPLACE);
  sys.renameat2(stagingFd, scratch.at(third), dirFd, scratch.at(name), RENAME_NOREPLACE);
  return put;
}

export function changed(): EntryFailure {
  return new EntryFailure("CHANGED", "someone changed it on the target meanwhile; it was left alone");
}
