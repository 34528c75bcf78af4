import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, RENAME_EXCHANGE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { openDirectory, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { STORE_NAME, blake3 } from "../../store/store.ts";
import { Listing } from "../tree/listing.ts";
import { isGone, joined, openBelow } from "../tree/path.ts";
import { TimesBuffer } from "../tree/times.ts";
import { inoAt } from "./layout.ts";

/** The temporary name beside the store, where there is no room for a store: in the root itself. */
export const BESIDE_NAME = Buffer.from(".dedupe-relink");
/** Which inode was to come, and in place of which name; numbered where the first was taken. */
const BESIDE = /^\.dedupe-relink(?:\.([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]{12}))?(?:\.\d+)?(?:\.kept)?$/;
const STORE = Buffer.from(STORE_NAME);

/** There is no log on a full disk: the temporary name itself says what it stands for. */
export function besideName(target: Uint32Array, directoryIno: bigint, name: Buffer): Buffer {
  const inodes = [inoAt(target), directoryIno].map((ino) => ino.toString(16));
  return Buffer.from(`${BESIDE_NAME.toString()}.${inodes.join("-")}-${markOf(name)}`);
}

function markOf(name: Buffer): string {
  return blake3(name).toString("hex", 0, 6);
}

type Where = { target: bigint; directory: bigint; mark: string };

/**
 * The temporary names of a killed run: what was taken out of a name goes back to it, everything else goes where its
 * inode has another name. Where it has none, the tree is healed with it as with any other name, and it goes afterwards.
 * @returns those that stay. @throws SysError
 */
export function dropBesideNames(kernel: Kernel, rootFd: number): Buffer[] {
  return namesIn(kernel, rootFd)
    .filter(({ name }) => BESIDE.test(name.toString("latin1")))
    .map(({ name }) => name)
    .filter((name) => !settle(kernel, rootFd, name));
}

/** true: it is gone. */
function settle(kernel: Kernel, rootFd: number, leftover: Buffer): boolean {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  if (sys.statx(rootFd, scratch.at(leftover), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return true;
  const [, target, directory, mark] = BESIDE.exec(leftover.toString("latin1")) ?? [];
  if (target !== undefined) {
    const where = { target: BigInt(`0x${target}`), directory: BigInt(`0x${String(directory)}`), mark };
    if (stat.ino !== where.target && !settleTaken(kernel, rootFd, leftover, where as Where)) return false;
  }
  return dropLinked(kernel, rootFd, leftover);
}

/** Of an inode that has another name. */
function dropLinked({ sys, scratch }: Kernel, rootFd: number, leftover: Buffer): boolean {
  const stat = new Stat(sys);
  const found = sys.statx(rootFd, scratch.at(leftover), AT_SYMLINK_NOFOLLOW, stat.address);
  if (found === -errno.ENOENT) return true;
  if (found < 0 || !stat.isRegular || stat.nlink < 2) return false;
  const removed = sys.unlinkat(rootFd, scratch.at(leftover), 0);
  return removed === 0 || removed === -errno.ENOENT;
}

/** It came out of a name: someone may have written to it since. @returns false: it cannot be told where it belongs */
function settleTaken(kernel: Kernel, rootFd: number, leftover: Buffer, where: Where): boolean {
  const { sys } = kernel;
  const { device } = statDescriptor(kernel, rootFd, new Stat(sys));
  const directoryFd = findDirectory(kernel, rootFd, { ino: where.directory, device });
  if (directoryFd === "unknown") return false;
  if (directoryFd === "none") return true;
  try {
    const mtimeNs = statDescriptor(kernel, directoryFd, new Stat(sys)).mtimeNs;
    const named = namesIn(kernel, directoryFd).filter(({ name }) => markOf(name) === where.mark);
    // What has its place by now is newer.
    const isThere = named.length === 1 && inoOf(kernel, directoryFd, named[0]?.name) === where.target;
    if (!isThere) return named.length < 2;
    const isBack = exchange(kernel, { rootFd, leftover, directoryFd, name: named[0]?.name as Buffer }, where);
    sys.futimens(directoryFd, new TimesBuffer(sys).withMtime(mtimeNs));
    return isBack;
  } finally {
    sys.close(directoryFd);
  }
}

type Pair = { rootFd: number; leftover: Buffer; directoryFd: number; name: Buffer };

function exchange(kernel: Kernel, { rootFd, leftover, directoryFd, name }: Pair, { target }: Where): boolean {
  const { sys, scratch } = kernel;
  const rename = (flags: number): number =>
    sys.renameat2(rootFd, scratch.at(leftover), directoryFd, scratch.at(name), flags);
  const result = rename(RENAME_EXCHANGE);
  if (result === -errno.EINVAL || result === -errno.ENOSYS) return rename(0) === 0;
  if (result < 0) return false;
  if (inoOf(kernel, rootFd, leftover) === target) return true;
  rename(RENAME_EXCHANGE);
  return false;
}

function inoOf({ sys, scratch }: Kernel, fd: number, name: Buffer | undefined): bigint | undefined {
  const stat = new Stat(sys);
  if (name === undefined) return undefined;
  return sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0 ? undefined : stat.ino;
}

type Inode = { ino: bigint; device: number };

/** A descriptor to close. "unknown": not all directories could be looked into. */
function findDirectory(kernel: Kernel, rootFd: number, wanted: Inode): number | "none" | "unknown" {
  const stat = new Stat(kernel.sys);
  const paths: Buffer[] = [Buffer.alloc(0)];
  let answer: "none" | "unknown" = "none";
  for (let path = paths.pop(); path !== undefined; path = paths.pop()) {
    const fd = openBelow(kernel, rootFd, path);
    if (fd < 0) {
      if (!isGone(fd)) answer = "unknown";
      continue;
    }
    const { ino, device } = statDescriptor(kernel, fd, stat);
    if (device === wanted.device && ino === wanted.ino) return fd;
    const at = path;
    if (device === wanted.device) for (const below of subdirectoriesIn(kernel, fd, at)) paths.push(below);
    kernel.sys.close(fd);
  }
  return answer;
}

function subdirectoriesIn(kernel: Kernel, fd: number, path: Buffer): Buffer[] {
  return namesIn(kernel, fd)
    .filter(
      ({ name, type }) =>
        (type === DT_DIR || type === DT_UNKNOWN) && !(path.length === 0 && name.equals(STORE)),
    )
    .map(({ name }) => joined(path, name));
}

function namesIn(kernel: Kernel, fd: number): { name: Buffer; type: number }[] {
  const own = openDirectory(kernel, fd, ".");
  const listing = new Listing(kernel.sys);
  const found: { name: Buffer; type: number }[] = [];
  try {
    while (check(listing.read(own), "getdents64") > 0)
      while (listing.next()) found.push({ name: listing.copyName(), type: listing.type });
  } finally {
    kernel.sys.close(own);
  }
  return found;
}
