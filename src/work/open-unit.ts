import { check, errno } from "../sys/errors.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isGone, openBelow } from "../tree/path.ts";
import type { Unit } from "../tree/snapshots.ts";
import { onSource } from "./errors.ts";
import type { WalkMode } from "./messages.ts";
import { emptyName, stagedName } from "./staged-name.ts";

type Folders = { sourceFd: number; targetFd: number; stagingFd: number };
/** `staged`: what stands for the unit in staging/; `isPlain`: its directory took nothing from its parent. */
type TargetSide = { mode: WalkMode; targetFd: number; staged: Buffer; isPlain: boolean };
export type OpenUnit = TargetSide & { sourceFd: number };

/** Opens both sides of a unit; what is not there yet is made in staging/. @throws EntryFailure, SysError */
export function openUnit(kernel: Kernel, folders: Folders, { path, type }: Unit): OpenUnit {
  const sourceFd = onSource(openBelow(kernel, folders.sourceFd, path), "openat");
  try {
    const open = type === "loose" ? openContainer : openSubtree;
    return { ...open(kernel, folders, path), sourceFd };
  } catch (error) {
    kernel.sys.close(sourceFd);
    throw error;
  }
}

/**
 * A container that is not there yet is compared with an empty directory: it is made after the seal, as it may take
 * the place of a file (P2).
 */
function openContainer(kernel: Kernel, { targetFd, stagingFd }: Folders, path: Buffer): TargetSide {
  const { sys, scratch } = kernel;
  const published = openBelow(kernel, targetFd, path);
  const how = { mode: "loose", isPlain: false } as const;
  if (!isGone(published))
    return { ...how, targetFd: check(published, "openat", path), staged: Buffer.alloc(0) };
  const staged = emptyName(path);
  check(sys.mkdirat(stagingFd, scratch.at(staged), 0o700), "mkdirat", staged);
  return { ...how, targetFd: check(openBelow(kernel, stagingFd, staged), "openat", staged), staged };
}

/** Published already: compare. Begun by an earlier run: go on. Else begin. */
function openSubtree(kernel: Kernel, folders: Folders, path: Buffer): TargetSide {
  const { sys, scratch } = kernel;
  const { stagingFd } = folders;
  const published = openBelow(kernel, folders.targetFd, path);
  const staged = stagedName(path);
  if (published >= 0) return { mode: "update", targetFd: published, staged, isPlain: false };
  if (published !== -errno.ENOENT && published !== -errno.ENOTDIR && published !== -errno.ELOOP)
    check(published, "openat", path);
  const made = sys.mkdirat(stagingFd, scratch.at(staged), 0o700);
  if (made !== -errno.EEXIST) check(made, "mkdirat", staged);
  const targetFd = check(openBelow(kernel, stagingFd, staged), "openat", staged);
  if (made < 0) return { mode: "refill", targetFd, staged, isPlain: false };
  return { mode: "fill", targetFd, staged, isPlain: isPlain(kernel, targetFd) };
}

/** Whether a directory just made took nothing from its parent: owner, setgid or an ACL, which it would hand on. */
function isPlain(kernel: Kernel, fd: number): boolean {
  const { sys } = kernel;
  const { mode, uid, gid } = statDescriptor(kernel, fd, new Stat(sys));
  const isOwn = uid === sys.geteuid() && gid === sys.getegid();
  return isOwn && (mode & 0o7777) === 0o700 && sys.flistxattr(fd, 0, 0) <= 0;
}
