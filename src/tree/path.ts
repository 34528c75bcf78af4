import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";

const SLASH = 0x2f;
const SLASH_BYTES = Buffer.from("/");

/** The components of a relative path; none for the empty path. */
export function componentsOf(path: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(SLASH, start);
    const end = slash < 0 ? path.length : slash;
    if (end > start) parts.push(path.subarray(start, end));
    start = end + 1;
  }
  return parts;
}

export function parentAndName(path: Buffer): { parent: Buffer; name: Buffer } {
  const slash = path.lastIndexOf(SLASH);
  return slash < 0
    ? { parent: Buffer.alloc(0), name: path }
    : { parent: path.subarray(0, slash), name: path.subarray(slash + 1) };
}

/** A relative path below another; an empty one is the directory itself. */
export function joined(directory: Buffer, path: Buffer): Buffer {
  if (directory.length === 0) return path;
  return path.length === 0 ? directory : Buffer.concat([directory, SLASH_BYTES, path]);
}

/** Whether the relative path is `above` or leads through it; all do through the empty path. */
export function isAtOrBelow(path: Buffer, above: Buffer): boolean {
  if (!path.subarray(0, above.length).equals(above)) return false;
  return above.length === 0 || path.length === above.length || path[above.length] === SLASH;
}

/**
 * Opens a directory below `rootFd` one component at a time: no symlink is followed, and the path may be longer than
 * PATH_MAX. @returns a descriptor to close, or -errno.
 */
export function openBelow({ sys, scratch }: Kernel, rootFd: number, path: Buffer): number {
  const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  // Not dup: the copy would share the position of a directory that is being read.
  let fd = openQuietly(sys, rootFd, scratch.text("."), flags);
  for (const part of componentsOf(path)) {
    if (fd < 0) return fd;
    const next = openQuietly(sys, fd, scratch.at(part), flags);
    sys.close(fd);
    fd = next;
  }
  return fd;
}

/** As openBelow, making what is missing, private to this user until its metadata is set. @throws SysError */
export function makeBelow(kernel: Kernel, rootFd: number, path: Buffer): number {
  const { sys, scratch } = kernel;
  const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  let fd = check(sys.openat(rootFd, scratch.text("."), flags, 0), "openat");
  for (const part of componentsOf(path)) {
    const made = sys.mkdirat(fd, scratch.at(part), 0o700);
    const next = made < 0 && made !== -errno.EEXIST ? -1 : sys.openat(fd, scratch.at(part), flags, 0);
    sys.close(fd);
    if (made !== -errno.EEXIST) check(made, "mkdirat", part);
    fd = check(next, "openat", part);
  }
  return fd;
}

/** A directory on the way up, open for as long as it is looked at. */
type Ancestor = { fd: number; device: number; ino: bigint };

/** The directory itself, then each above it, by ".." up to the root or to what may not be opened. @throws SysError */
export function* upwards({ sys, scratch }: Kernel, from: number): Generator<Ancestor> {
  const stat = new Stat(sys);
  let fd = check(sys.dup(from), "dup");
  try {
    for (let last: Ancestor | undefined; ;) {
      check(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address), "statx");
      const here = { fd, device: stat.device, ino: stat.ino };
      if (last !== undefined && isSame(here, last)) return;
      yield here;
      last = here;
      const parent = sys.openat(fd, scratch.text(".."), O_PATH | sys.O_DIRECTORY | O_CLOEXEC, 0);
      if (parent < 0) return;
      sys.close(fd);
      fd = parent;
    }
  } finally {
    sys.close(fd);
  }
}

type Identified = Pick<Ancestor, "device" | "ino">;
const isSame = (one: Identified, other: Identified): boolean =>
  one.device === other.device && one.ino === other.ino;

/** Whether `inner` is `outer` or lies somewhere below it: the way up from `inner` passes `outer`. @throws SysError */
export function isWithin(kernel: Kernel, innerFd: number, outerFd: number): boolean {
  const outer = statDescriptor(kernel, outerFd, new Stat(kernel.sys));
  for (const here of upwards(kernel, innerFd)) if (isSame(here, outer)) return true;
  return false;
}

/** Not through a symlink; false where it may not be looked at. */
export function isDirectoryAt({ sys, scratch }: Kernel, dirFd: number, name: string): boolean {
  const stat = new Stat(sys);
  return sys.statx(dirFd, scratch.text(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0 && stat.isDirectory;
}

/** Whether a call says that there is no such name (any more), and not that it could not be looked at. */
export function isGone(result: number): boolean {
  return result === -errno.ENOENT || result === -errno.ENOTDIR || result === -errno.ELOOP;
}
