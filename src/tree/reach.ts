import { AT_FDCWD, O_PATH } from "../sys/constants.ts";
import { readFile, type Kernel } from "../sys/files.ts";
import { readMounts, type Mount } from "./mounts.ts";
import { isWithin } from "./path.ts";

/** A directory as its filesystem knows it, however it was mounted and named. */
type Place = { device: number; path: string };

/**
 * Whether a walk of `outer` comes through `inner`: it is the same directory or lies below it, seen through bind
 * mounts too, of which ".." knows nothing. @throws SysError
 */
export function reaches(kernel: Kernel, outerFd: number, innerFd: number): boolean {
  if (isWithin(kernel, innerFd, outerFd)) return true;
  const mounts = readMounts(kernel);
  const inner = placeOf(kernel, mounts, innerFd);
  if (inner === undefined) return false;
  return placesBelow(kernel, mounts, outerFd).some((place) => contains(place, inner));
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

function textOf(kernel: Kernel, path: string): string {
  return readFile(kernel, AT_FDCWD, path)?.toString("latin1") ?? "";
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
