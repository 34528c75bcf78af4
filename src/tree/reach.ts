import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { PATH_MAX, readFile, type Kernel } from "../sys/files.ts";
import { readMounts, type Mount } from "./mounts.ts";
import { isDirectoryAt, isWithin, upwards } from "./path.ts";

const SLASH = 0x2f;
const DOT = Buffer.from(".");

/** A directory as its filesystem knows it, however it was mounted and named. */
type Place = { device: number; path: string };

/**
 * Whether a walk of `outer` comes through `inner`: it is the same directory or lies below it, seen through bind
 * mounts too, of which ".." knows nothing. @throws SysError
 */
export function reaches(kernel: Kernel, outerFd: number, innerFd: number): boolean {
  return isWithin(kernel, innerFd, outerFd) || isShownIn(kernel, outerFd, innerFd);
}

/** As `reaches`, of a file as well, and by mounts alone. */
function isShownIn(kernel: Kernel, outerFd: number, innerFd: number): boolean {
  const mounts = readMounts(kernel);
  const inner = placeOf(kernel, mounts, innerFd);
  if (inner === undefined) return false;
  return placesBelow(kernel, mounts, outerFd).some((place) => contains(place, inner));
}

/** Symlinks that are followed before the kernel, too, gives up (path_resolution(7)). */
const MOST_LINKS = 40;

/**
 * Whether to write to a path, which need not be there yet, would write into the directory `rootFd` (O_PATH will do) or
 * something below it. What is missing of the path counts as made below the last directory that is there. @throws SysError
 */
export function leadsInto(kernel: Kernel, rootFd: number, path: Buffer, links = 0): boolean {
  if (path.length >= PATH_MAX || links > MOST_LINKS) return false;
  const whole = openPlace(kernel, AT_FDCWD, path, "directory");
  if (whole >= 0) return closing(kernel, whole, () => reaches(kernel, rootFd, whole));
  const bare = withoutSlashes(path);
  const nameAt = bare.lastIndexOf(SLASH) + 1;
  const parent = nameAt === 0 ? DOT : path.subarray(0, nameAt);
  const directory = openPlace(kernel, AT_FDCWD, parent, "directory");
  if (directory < 0) return nameAt > 0 && leadsInto(kernel, rootFd, withoutSlashes(parent), links);
  return closing(kernel, directory, () => {
    const name = bare.subarray(nameAt);
    const target = linkTarget(kernel, directory, name);
    if (target !== undefined) {
      const isAbsolute = target[0] === SLASH;
      const from = isAbsolute ? [] : [Buffer.from(`/proc/self/fd/${String(directory)}/`)];
      return leadsInto(kernel, rootFd, Buffer.concat([...from, target]), links + 1);
    }
    if (reaches(kernel, rootFd, directory)) return true;
    // A file of the root may be bind-mounted here.
    const file = openPlace(kernel, directory, name, "any");
    return file >= 0 && closing(kernel, file, () => isShownIn(kernel, rootFd, file));
  });
}

function openPlace({ sys, scratch }: Kernel, dirFd: number, path: Buffer, type: "directory" | "any"): number {
  const flags = O_PATH | O_CLOEXEC | (type === "directory" ? sys.O_DIRECTORY : sys.O_NOFOLLOW);
  return sys.openat(dirFd, scratch.at(path), flags, 0);
}

/** Closes the descriptor after `work`. */
export function closing<T>({ sys }: Kernel, fd: number, work: () => T): T {
  try {
    return work();
  } finally {
    sys.close(fd);
  }
}

function withoutSlashes(path: Buffer): Buffer {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end--;
  return path.subarray(0, end);
}

function linkTarget({ sys, scratch }: Kernel, dirFd: number, name: Buffer): Buffer | undefined {
  const memory = sys.allocate(PATH_MAX);
  const length = sys.readlinkat(dirFd, scratch.at(name), memory.address, memory.bytes.length);
  return length < 0 ? undefined : Buffer.from(memory.bytes.subarray(0, length));
}

/** The directory itself, and the roots of what is mounted somewhere below it. */
function placesBelow(kernel: Kernel, mounts: readonly Mount[], fd: number): Place[] {
  const own = placeOf(kernel, mounts, fd);
  const path = pathOfDescriptor(kernel, fd);
  const mounted = mounts.filter(({ point }) => path !== undefined && isPathWithin(point, path));
  return [
    ...(own === undefined ? [] : [own]),
    ...mounted.map(({ device, root }) => ({ device, path: root })),
  ];
}

function placeOf(kernel: Kernel, mounts: readonly Mount[], fd: number): Place | undefined {
  const path = pathOfDescriptor(kernel, fd);
  const id = /^mnt_id:\s*(\d+)$/m.exec(textOf(kernel, `/proc/self/fdinfo/${String(fd)}`))?.[1];
  const mount = mounts.find((each) => String(each.id) === id);
  if (path === undefined || mount === undefined || !isPathWithin(path, mount.point)) return undefined;
  const rest = mount.point === "/" ? path : path.slice(mount.point.length);
  return { device: mount.device, path: `${mount.root === "/" ? "" : mount.root}${rest}` || "/" };
}

function contains(outer: Place, inner: Place): boolean {
  return outer.device === inner.device && isPathWithin(inner.path, outer.path);
}

function isPathWithin(inner: string, outer: string): boolean {
  return outer === "/" || inner === outer || inner.startsWith(`${outer}/`);
}

/** The bytes of the path as Latin-1, as readMounts gives its; undefined where it is too long for the kernel to say. */
export function pathOfDescriptor({ sys, scratch }: Kernel, fd: number): string | undefined {
  const memory = sys.allocate(8192);
  const link = scratch.text(`/proc/self/fd/${String(fd)}`);
  const length = sys.readlinkat(AT_FDCWD, link, memory.address, memory.bytes.length);
  return length < 0 ? undefined : memory.bytes.toString("latin1", 0, length);
}

/**
 * The path of the nearest directory, from `root` upwards on its filesystem, that has a directory of that name; "" where
 * the kernel cannot say it. Bind mounts are not looked through. @throws SysError
 */
export function nearestWith(
  kernel: Kernel,
  root: { fd: number; device: number },
  name: string,
): string | undefined {
  for (const { fd, device } of upwards(kernel, root.fd)) {
    if (device !== root.device) return undefined;
    if (!isDirectoryAt(kernel, fd, name)) continue;
    return Buffer.from(pathOfDescriptor(kernel, fd) ?? "", "latin1").toString();
  }
  return undefined;
}

function textOf(kernel: Kernel, path: string): string {
  return readFile(kernel, AT_FDCWD, path)?.toString("latin1") ?? "";
}

/** A mount below hides inodes whose numbers the directories still show. */
export function hasMountsBelow(kernel: Kernel, root: { fd: number; path: string }): boolean {
  const path = pathOfDescriptor(kernel, root.fd) ?? root.path;
  const prefix = path.replace(/\/*$/, "/");
  return readMounts(kernel).some(({ point }) => point.startsWith(prefix) && point !== path);
}

/** As hasMountsBelow, of a name in a directory; false where it is no directory, or too deep for the kernel to say. */
export function hasMountsUnder(kernel: Kernel, dirFd: number, name: Buffer): boolean {
  const { sys, scratch } = kernel;
  const fd = sys.openat(dirFd, scratch.at(name), O_PATH | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return false;
  const path = closing(kernel, fd, () => pathOfDescriptor(kernel, fd));
  return path !== undefined && readMounts(kernel).some(({ point }) => point.startsWith(`${path}/`));
}

/** A file bind-mounted over another, somewhere below: its directory shows the covered inode's number. */
export function hasFileMounts(kernel: Kernel, root: { fd: number; path: string }): boolean {
  // As the mount table names it: the user may have named it relatively, or through a symlink.
  const prefix = (pathOfDescriptor(kernel, root.fd) ?? root.path).replace(/\/*$/, "/");
  const { sys, scratch } = kernel;
  return readMounts(kernel).some(({ point }) => {
    if (!point.startsWith(prefix)) return false;
    const fd = sys.openat(AT_FDCWD, scratch.at(Buffer.from(point, "latin1")), sys.O_DIRECTORY | O_PATH, 0);
    if (fd >= 0) sys.close(fd);
    return fd < 0;
  });
}
