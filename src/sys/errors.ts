import { constants } from "node:os";

/** errno numbers by name, as asm-generic has them (x64 and arm64 agree). */
export const errno = constants.errno;
/** Not in Node's table. */
export const EUCLEAN = 117;

const names = new Map<number, string>(Object.entries(errno).map(([name, number]) => [number, name]));
names.set(EUCLEAN, "EUCLEAN");
names.set(errno.EOPNOTSUPP, "EOPNOTSUPP");
names.set(errno.EAGAIN, "EAGAIN");

const sentences: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOENT: "no such file or directory",
  EIO: "input/output error",
  ENOSPC: "no space left on device",
  EDQUOT: "disk quota exceeded",
  EROFS: "read-only file system",
  EMLINK: "too many links",
  EEXIST: "file exists",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  ELOOP: "a symbolic link stands where a directory was",
  EXDEV: "on another file system, mount or quota project",
  ENAMETOOLONG: "name too long",
  EOPNOTSUPP: "not supported by the file system",
  EUCLEAN: "the file system is damaged",
  EBADMSG: "the file system is damaged: a checksum does not fit",
  ENODEV: "the device is gone",
  ENXIO: "the device is gone",
  ESTALE: "stale file handle",
  EBUSY: "busy (a mount point?)",
  EMFILE: "too many open files",
};

/** "ENOENT" for 2; "E200" for a number that has no name. */
export function errnoName(number: number): string {
  return names.get(number) ?? `E${String(number)}`;
}

/** A few plain words for an errno name. */
export function errnoSentence(name: string): string {
  return sentences[name] ?? name;
}

/** A system call that failed: which, with which errno, on what. */
export class SysError extends Error {
  readonly call: string;
  readonly errno: number;
  readonly code: string;
  readonly path: Buffer;

  constructor(call: string, number: number, path: Buffer | string = "") {
    const code = errnoName(number);
    super(`${call}: ${errnoSentence(code)} (${code})`);
    this.name = "SysError";
    this.call = call;
    this.errno = number;
    this.code = code;
    this.path = typeof path === "string" ? Buffer.from(path) : path;
  }

  /** The message, and what the call was about. */
  get sentence(): string {
    return this.path.length === 0 ? this.message : `${this.message} (${this.path.toString()})`;
  }
}

/** Passes a kernel-convention result through; a negative one (-errno) becomes a thrown SysError. */
export function check(result: number, call: string, path?: Buffer | string): number {
  if (result < 0) throw new SysError(call, -result, path);
  return result;
}

export function isSysError(error: unknown, ...codes: string[]): error is SysError {
  return error instanceof SysError && (codes.length === 0 || codes.includes(error.code));
}
