import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOATIME,
  O_RDONLY,
  O_WRONLY,
} from "./constants.ts";
import { SysError, check, errno } from "./errors.ts";
import type { Scratch } from "./scratch.ts";
import type { Stat } from "./stat.ts";
import type { Address, Sys } from "./sys.ts";

/** include/uapi/linux/limits.h, with the NUL. */
export const PATH_MAX = 4096;
/** What one call writes at most: so much is copied to where the kernel finds it. */
const WRITE_BYTES = 1 << 20;

/** A thread's kernel with room for strings. */
export type Kernel = { sys: Sys; scratch: Scratch };

/**
 * Opens without touching the atime where that is allowed: of others' files it is not, for an ordinary user (P1).
 * @returns a descriptor or -errno.
 */
export function openQuietly(sys: Sys, dirFd: number, name: Address, flags: number): number {
  const fd = sys.openat(dirFd, name, flags | O_NOATIME, 0);
  return fd === -errno.EPERM ? sys.openat(dirFd, name, flags, 0) : fd;
}

/** Opens a directory without following a symlink in its place. @throws SysError */
export function openDirectory({ sys, scratch }: Kernel, dirFd: number, name: Buffer | string): number {
  const flags = O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  return check(sys.openat(dirFd, scratch.at(Buffer.from(name)), flags, 0), "openat", Buffer.from(name));
}

/** Opens a directory the user named: symlinks in the path are followed, as every tool does. @throws SysError */
export function openRoot({ sys, scratch }: Kernel, path: string): number {
  if (Buffer.byteLength(path) >= PATH_MAX) throw new SysError("openat", errno.ENAMETOOLONG, path);
  const flags = O_RDONLY | sys.O_DIRECTORY | O_CLOEXEC;
  return check(openQuietly(sys, AT_FDCWD, scratch.text(path), flags), "openat", path);
}

/** Makes a private directory unless it is there, and opens it. @throws SysError */
export function ensureDirectory(kernel: Kernel, dirFd: number, name: string): number {
  const made = kernel.sys.mkdirat(dirFd, kernel.scratch.text(name), 0o700);
  if (made !== -errno.EEXIST) check(made, "mkdirat", name);
  return openDirectory(kernel, dirFd, name);
}

/** Makes what is missing of a path's directories, like mkdir -p, but to open it is what shows that it is there. @returns the path */
export function makeDirectories({ sys, scratch }: Kernel, path: string): string {
  for (let end = path.indexOf("/", 1); end > 0; end = path.indexOf("/", end + 1))
    sys.mkdirat(AT_FDCWD, scratch.text(path.slice(0, end)), 0o777);
  sys.mkdirat(AT_FDCWD, scratch.text(path), 0o700);
  return path;
}

/** The bytes of a small file, undefined where there is none. @throws SysError */
export function readFile({ sys, scratch }: Kernel, dirFd: number, name: string): Buffer | undefined {
  const fd = sys.openat(dirFd, scratch.text(name), O_RDONLY | sys.O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd === -errno.ENOENT) return undefined;
  return readAndClose(sys, check(fd, "openat", name), name);
}

/** The bytes of a small file that the user named: symlinks are followed. @throws SysError */
export function readNamedFile({ sys, scratch }: Kernel, path: Buffer): Buffer {
  const fd = sys.openat(AT_FDCWD, scratch.at(path), O_RDONLY | O_CLOEXEC, 0);
  return readAndClose(sys, check(fd, "openat", path), path);
}

/** All that standard input gives. @throws SysError */
export function readStandardInput({ sys }: Kernel): Buffer {
  return readToEnd(sys, 0, "standard input");
}

function readAndClose(sys: Sys, fd: number, path: string | Buffer): Buffer {
  try {
    return readToEnd(sys, fd, path);
  } finally {
    sys.close(fd);
  }
}

function readToEnd(sys: Sys, fd: number, path: string | Buffer): Buffer {
  const memory = sys.allocate(65_536);
  const parts: Buffer[] = [];
  for (;;) {
    const got = check(sys.read(fd, memory.address, memory.bytes.length), "read", path);
    if (got === 0) return Buffer.concat(parts);
    parts.push(Buffer.from(memory.bytes.subarray(0, got)));
  }
}

/** Up to `sizeBytes` from `offset` on; fewer at the end of the file. @throws SysError */
export function readAt({ sys }: Kernel, fd: number, offset: number, sizeBytes: number): Buffer {
  const memory = sys.allocate(sizeBytes);
  const got = check(sys.pread(fd, memory.address, sizeBytes, offset), "read");
  return Buffer.from(memory.bytes.subarray(0, got));
}

/** What writeFileDurably calls a file until it is whole. */
export const temporaryOf = (name: string): string => `${name}.new`;

/** Writes a small file so that a power cut leaves the old one or the new one, whole. @throws SysError */
export function writeFileDurably(
  { sys, scratch }: Kernel,
  dirFd: number,
  name: string,
  content: Buffer,
): void {
  const temporary = temporaryOf(name);
  sys.unlinkat(dirFd, scratch.text(temporary), 0);
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  const fd = check(sys.openat(dirFd, scratch.text(temporary), flags, 0o600), "openat", temporary);
  try {
    writeAll(sys, fd, content);
    check(sys.fsync(fd), "fsync", temporary);
  } finally {
    sys.close(fd);
  }
  check(sys.renameat2(dirFd, scratch.text(temporary), dirFd, scratch.text(name), 0), "renameat2", name);
  check(sys.fsync(dirFd), "fsync", name);
}

/** Appends, or writes from a position on. @throws SysError */
export function writeAll(sys: Sys, fd: number, content: Buffer, position?: number): void {
  const memory = sys.allocate(Math.max(1, Math.min(WRITE_BYTES, content.length)));
  for (let at = 0; at < content.length;) {
    const part = content.subarray(at, at + WRITE_BYTES);
    memory.bytes.set(part);
    at +=
      position === undefined
        ? check(sys.write(fd, memory.address, part.length), "write")
        : check(sys.pwrite(fd, memory.address, part.length, position + at), "pwrite");
  }
}

/** statx of a descriptor into `stat`. @throws SysError */
export function statDescriptor({ sys, scratch }: Kernel, fd: number, stat: Stat): Stat {
  check(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address), "statx");
  return stat;
}
