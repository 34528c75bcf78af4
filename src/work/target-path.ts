import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { EntryFailure } from "./errors.ts";

/**
 * Whether the path, or what there is of it on the target, lies on another filesystem or mount: nothing can be linked
 * into it.
 */
export function isBeyond(kernel: Kernel, targetFd: number, path: Buffer): boolean {
  const stat = new Stat(kernel.sys);
  const { device } = statDescriptor(kernel, targetFd, stat);
  for (let at = path; at.length > 0; at = parentAndName(at).parent) {
    const fd = openBelow(kernel, targetFd, at);
    if (fd < 0) continue;
    const isHere = isOnTarget(statDescriptor(kernel, fd, stat), device);
    kernel.sys.close(fd);
    if (!isHere) return true;
  }
  return false;
}

/** Whether what was statted, in a directory of the target, is the target's own: the same filesystem may be mounted there. */
export function isOnTarget({ device, isMountRoot }: Stat, targetDevice: number): boolean {
  return device === targetDevice && isMountRoot !== true;
}

export function beyond(): EntryFailure {
  const message = "another file system is mounted here on the target, or it is a subvolume of its own";
  return new EntryFailure("EXDEV", message);
}

/** Whether the target has something of this path: the plan's word for "not new". */
export function isPublished(kernel: Kernel, targetFd: number, path: Buffer): boolean {
  const { parent, name } = parentAndName(path);
  const fd = openBelow(kernel, targetFd, parent);
  if (fd < 0) return false;
  const { sys, scratch } = kernel;
  const result = sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, new Stat(sys).address);
  sys.close(fd);
  return result === 0;
}
