import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";

/**
 * What to do about EPERM where the name on the target or its directory is immutable or append-only (chattr +i, +a):
 * the kernel then refuses even root to link, rename or remove it. undefined: that is not why.
 */
export function immutableText({ sys, scratch }: Kernel, dirFd: number, name: Buffer): string | undefined {
  const stat = new Stat(sys);
  const isFixed = (result: number): boolean => result === 0 && stat.isImmutable;
  if (name.length > 0 && isFixed(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address)))
    return "it is immutable or append-only on the target: chattr -ia it there, and run again";
  if (isFixed(sys.statx(dirFd, scratch.empty, AT_EMPTY_PATH, stat.address)))
    return "its directory is immutable or append-only on the target: chattr -ia that, and run again";
  return undefined;
}
