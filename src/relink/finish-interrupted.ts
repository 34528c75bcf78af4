import { AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import {
  forgetBatchLog,
  readBatchLog,
  type BatchLog,
  type InoWords,
  type LoggedDirectory,
  type LoggedName,
} from "./batch-log.ts";
import { STORE_NAME } from "../../store/store.ts";
import { isInode, isState } from "./inode-state.ts";
import { INO_HIGH, INO_LOW } from "./layout.ts";
import { hashesToItsName, putTimeBack, type Interrupted } from "./interrupted.ts";
import { NameMender, isInStore, isRepair } from "./name-mender.ts";
import { LEFTOVER, standsFor } from "./temporary-name.ts";

/** In tmp/, with a number or a word: an inode that a repair or an undo has written. */
export const COPY_PREFIX = "repair.";
export const RESTORED_NAME = Buffer.from(`${COPY_PREFIX}undo`);

/**
 * What a run that was killed in the middle of a batch left to do. A temporary name may be the last one of a victim: it
 * goes only where the object in its place hashes to its name; otherwise the victim gets its own name back. Then the
 * directories' times, but for those whose listing someone else changed.
 * @returns names in tmp/ of which nothing is known; they stay. @throws SysError
 */
export function finishInterrupted(parts: Interrupted): Buffer[] {
  const { kernel, logFd } = parts;
  const log = readBatchLog(kernel, logFd);
  const { directories } = log;
  dropCopies(parts);
  const unknown = leftoversIn(parts, LEFTOVER).filter((leftover) => !settleLeftover(parts, log, leftover));
  finishRepair(parts, directories);
  for (const directory of directories) putTimeBack(parts, directory, log.writtenNs);
  forgetBatchLog(kernel, logFd);
  return unknown;
}

/**
 * After a batch: what failed calls left in tmp/ is what a kill leaves, and is settled while the log tells what it is.
 * @throws SysError; the log is there then, and the next run settles it
 */
export function closeBatch(parts: Interrupted): void {
  if (leftoversIn(parts, LEFTOVER).length > 0) finishInterrupted(parts);
  else forgetBatchLog(parts.kernel, parts.logFd);
}

function leftoversIn({ kernel, tmpFd }: Interrupted, prefix: string): Buffer[] {
  const { sys } = kernel;
  const listing = new Listing(sys);
  const names: Buffer[] = [];
  sys.lseek(tmpFd, 0, 0);
  while (check(listing.read(tmpFd), "getdents64", `${STORE_NAME}/tmp`) > 0)
    while (listing.next()) names.push(listing.copyName());
  return names.filter((name) => name.toString("latin1").startsWith(prefix));
}

/**
 * New inodes of a repair, and links to them on their way: what they were written from is there still, and the damaged
 * inode as well, where they have not got its names yet.
 */
function dropCopies(parts: Interrupted): void {
  const { sys, scratch } = parts.kernel;
  const stat = new Stat(sys);
  const inoOf = (name: Buffer): bigint => {
    check(sys.statx(parts.tmpFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
    return stat.ino;
  };
  const copies = leftoversIn(parts, COPY_PREFIX);
  const inodes = new Set(copies.map(inoOf));
  const links =
    inodes.size === 0 ? [] : leftoversIn(parts, LEFTOVER).filter((name) => inodes.has(inoOf(name)));
  for (const name of [...links, ...copies])
    check(sys.unlinkat(parts.tmpFd, scratch.at(name), 0), "unlinkat", name);
}

type Logged = { directory: LoggedDirectory; name: LoggedName };

/** true: it is gone, or has its own name again. */
function settleLeftover(parts: Interrupted, { tag, directories }: BatchLog, leftover: Buffer): boolean {
  const { kernel, tmpFd } = parts;
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  check(sys.statx(tmpFd, scratch.at(leftover), AT_SYMLINK_NOFOLLOW, stat.address), "statx", leftover);
  const drop = (): true => {
    const result = sys.unlinkat(tmpFd, scratch.at(leftover), 0);
    if (result !== -errno.ENOENT) check(result, "unlinkat", leftover);
    return true;
  };
  const all = directories.flatMap((directory) => directory.names.map((name) => ({ directory, name })));
  const known = standsFor(leftover);
  const exact = known?.log === tag ? all[known.position] : undefined;
  const about = exact === undefined ? all : [exact];
  const asVictim = about.filter(({ name }) => isInode(stat, name.victim));
  const victim = asVictim[0]?.name;
  // A link to what was to come in place of a name, and did not: it has another name.
  const isTarget = about.some(({ name }) => isInode(stat, Uint32Array.from(name.target)));
  if (victim === undefined && isTarget) return stat.nlink > 1 && drop();
  // What someone wrote to it before the run died is nowhere else.
  if (victim !== undefined && isState(stat, victim.victim) && hashesToItsName(parts, victim)) return drop();
  const from = nameOf(parts, exact === undefined ? asVictim : [exact]);
  if (from !== undefined) return giveBack(parts, from.directory, { name: from.name, leftover }) && drop();
  // It was not replaced yet, where names are renamed over: it has its own name besides.
  const hasOwn = asVictim.some(({ directory, name }) =>
    leadsTo(parts, directory, { name: name.name, ino: inoOf(name) }),
  );
  return hasOwn && drop();
}

/**
 * The name that it was taken out of, if no other one can be meant. A file that came out in place of the one that was
 * expected is known by its temporary name alone.
 */
function nameOf(parts: Interrupted, candidates: readonly Logged[]): Logged | undefined {
  const taken = candidates.filter(({ directory, name }) =>
    leadsTo(parts, directory, { name: name.name, ino: name.target }),
  );
  return taken.length === 1 ? taken[0] : undefined;
}

const inoOf = ({ victim }: LoggedName): InoWords => [victim[INO_HIGH] ?? 0, victim[INO_LOW] ?? 0];

/** Whether the inode is what the name leads to now. */
function leadsTo(
  { kernel, rootFd }: Interrupted,
  { path }: LoggedDirectory,
  { name, ino }: { name: Buffer; ino: InoWords },
): boolean {
  const { sys, scratch } = kernel;
  const fd = openBelow(kernel, rootFd, path);
  if (fd < 0) return false;
  const stat = new Stat(sys);
  const found = sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0;
  sys.close(fd);
  return found && stat.inoHigh === ino[0] && stat.inoLow === ino[1];
}

function giveBack(
  { kernel, rootFd, tmpFd }: Interrupted,
  { path }: LoggedDirectory,
  { name, leftover }: { name: LoggedName; leftover: Buffer },
): boolean {
  const { sys, scratch } = kernel;
  const fd = openBelow(kernel, rootFd, path);
  if (fd < 0) return false;
  const result = sys.renameat2(tmpFd, scratch.at(leftover), fd, scratch.at(name.name), RENAME_EXCHANGE);
  if (result === -errno.EINVAL || result === -errno.ENOSYS) {
    // The name was seen to lead to the target a moment ago.
    const renamed = sys.renameat2(tmpFd, scratch.at(leftover), fd, scratch.at(name.name), 0);
    sys.close(fd);
    return renamed === 0;
  }
  const stat = new Stat(sys);
  const isOut =
    result === 0 &&
    sys.statx(tmpFd, scratch.at(leftover), AT_SYMLINK_NOFOLLOW, stat.address) === 0 &&
    isInode(stat, Uint32Array.from(name.target));
  if (result === 0 && !isOut)
    sys.renameat2(tmpFd, scratch.at(leftover), fd, scratch.at(name.name), RENAME_EXCHANGE);
  sys.close(fd);
  return isOut;
}

/** The names that a repair had not come to: nobody would find their inode damaged once it is no object any more. */
function finishRepair(parts: Interrupted, directories: LoggedDirectory[]): void {
  if (!isRepair(directories)) return;
  const isGood = (name: LoggedName): boolean => hashesToItsName(parts, name);
  const mender = new NameMender({ ...parts, isGood }, Buffer.from(`${LEFTOVER}finish`));
  for (const directory of directories)
    if (!isInStore(directory)) for (const left of mender.mend(directory)) mender.keepKnown(left);
}
