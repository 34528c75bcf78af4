import { O_CREAT, O_PATH, O_RDWR, O_WRONLY } from "./constants.ts";
import { openQuietly } from "./files.ts";
import type { Address, Sys } from "./sys.ts";

const O_TRUNC = 0o1000;

/** Every call that changes a file system; `openat` is dealt with by its flags. */
const writingCalls = [
  "linkat",
  "symlinkat",
  "mkdirat",
  "mknodat",
  "unlinkat",
  "renameat2",
  "fchownat",
  "fchmod",
  "fchmodat",
  "futimens",
  "utimensat",
  "write",
  "pwrite",
  "ftruncate",
  "copyFileRange",
  "fsetxattr",
  "fremovexattr",
  "lsetxattr",
  "lremovexattr",
] as const satisfies readonly (keyof Sys)[];

/**
 * The same kernel without its writing half: a dry run that tried to change something is a bug, and ends there
 * instead of changing it. Access times are left alone too where the kernel allows that.
 */
export function readOnlySys(sys: Sys): Sys {
  const refuse = (call: string) => (): never => {
    throw new Error(`a dry run writes nothing, but came to ${call}`);
  };
  const refused = Object.fromEntries(writingCalls.map((call) => [call, refuse(call)]));
  const openat = (dirFd: number, name: Address, flags: number, mode: number): number => {
    // O_TMPFILE needs one of the last two as well.
    if ((flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) !== 0) refuse("openat")();
    return (flags & O_PATH) === 0
      ? openQuietly(sys, dirFd, name, flags)
      : sys.openat(dirFd, name, flags, mode);
  };
  return { ...sys, ...(refused as Partial<Sys>), openat };
}
