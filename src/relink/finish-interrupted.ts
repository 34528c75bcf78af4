import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  RENAME_EXCHANGE,
} from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { openQuietly, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { ContentMover, Ref } from "../../store/store.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import { TimesBuffer } from "../tree/times.ts";
import {
  forgetBatchLog,
  readBatchLog,
  type InoWords,
  type LoggedDirectory,
  type LoggedName,
} from "./batch-log.ts";
import { byName, fingerprint } from "./fingerprint.ts";
import { isInode, isState } from "./inode-state.ts";
import { INO_HIGH, INO_LOW, timeAt } from "./layout.ts";

const LEFTOVER = "relink.";
/** A copy that `--undo` makes, before it has a name in the store: nothing of a tree ever has this name. */
export const RESTORED_NAME = Buffer.from("undo.copy");

export type Interrupted = { kernel: Kernel; rootFd: number; tmpFd: number; logFd: number; objectsFd: number };

/**
 * What a run that was killed in the middle of a batch left to do. A temporary name may be the last one of a victim: it
 * goes only where the object in its place hashes to its name; otherwise the victim gets its own name back. Then the
 * directories' times, but for those whose listing someone else changed.
 * @returns names in tmp/ of which nothing is known; they stay. @throws SysError
 */
export function finishInterrupted(parts: Interrupted): Buffer[] {
  const { kernel, logFd, tmpFd } = parts;
  kernel.sys.unlinkat(tmpFd, kernel.scratch.at(RESTORED_NAME), 0);
  const directories = readBatchLog(kernel, logFd);
  const unknown = leftoversIn(parts).filter((leftover) => !settleLeftover(parts, directories, leftover));
  for (const directory of directories) putTimeBack(parts, directory);
  forgetBatchLog(kernel, logFd);
  return unknown;
}

function leftoversIn({ kernel, tmpFd }: Interrupted): Buffer[] {
  const { sys } = kernel;
  const listing = new Listing(sys);
  const names: Buffer[] = [];
  sys.lseek(tmpFd, 0, 0);
  while (check(listing.read(tmpFd), "getdents64") > 0) while (listing.next()) names.push(listing.copyName());
  return names.filter((name) => name.toString("latin1").startsWith(LEFTOVER));
}

/** true: it is gone, or has its own name again. */
function settleLeftover(parts: Interrupted, directories: LoggedDirectory[], leftover: Buffer): boolean {
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
  const asVictim = all.filter(({ name }) => isInode(stat, name.victim));
  if (asVictim.length === 0) {
    // A link to what was to come in place of a name, and did not: it has another name.
    const logged = all.find(({ name }) => isInode(stat, Uint32Array.from(name.target)));
    return logged !== undefined && stat.nlink > 1 ? drop() : false;
  }
  const first = asVictim[0] as { name: LoggedName };
  // What someone wrote to it before the run died is nowhere else.
  if (isState(stat, first.name.victim) && hashesToItsName(parts, first.name)) return drop();
  const taken = asVictim.find(({ directory, name }) =>
    leadsTo(parts, directory, { name: name.name, ino: name.target }),
  );
  if (taken !== undefined) return giveBack(parts, taken.directory, { name: taken.name, leftover }) && drop();
  // It was not replaced yet, where names are renamed over: it has its own name besides.
  const hasOwn = asVictim.some(({ directory, name }) =>
    leadsTo(parts, directory, { name: name.name, ino: inoOf(name) }),
  );
  return hasOwn && drop();
}

function hashesToItsName({ kernel, objectsFd }: Interrupted, { ref, target }: LoggedName): boolean {
  const { sys, scratch } = kernel;
  const named = new Ref(sys).setBytes(ref);
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = openQuietly(sys, objectsFd, named.format(), flags);
  if (fd < 0) return false;
  try {
    const stat = new Stat(sys);
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address), "statx");
    if (stat.inoHigh !== target[0] || stat.inoLow !== target[1]) return false;
    const content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
    return content.hash(fd, stat.sizeBytes)?.equals(named.digest) ?? false;
  } finally {
    sys.close(fd);
  }
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

function putTimeBack(
  { kernel, rootFd }: Interrupted,
  { path, ino, mtime, print, names }: LoggedDirectory,
): void {
  const { sys, scratch } = kernel;
  const fd = openBelow(kernel, rootFd, path);
  if (fd < 0) return;
  try {
    const stat = new Stat(sys);
    const statted = sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address);
    if (statted < 0 || stat.inoHigh !== ino[0] || stat.inoLow !== ino[1]) return;
    const mayBe = new Map(
      names.map(({ name, victim, target }) => [
        name.toString("latin1"),
        [[victim[INO_HIGH] ?? 0, victim[INO_LOW] ?? 0] as const, target],
      ]),
    );
    const now = fingerprint(kernel, new Listing(sys), fd, byName(mayBe));
    if (now?.high !== print.high || now.low !== print.low) return;
    const mtimeNs = timeAt(mtime, 0);
    if (stat.mtimeNs !== mtimeNs) sys.futimens(fd, new TimesBuffer(sys).withMtime(mtimeNs));
  } finally {
    sys.close(fd);
  }
}
