import { AT_REMOVEDIR, DT_DIR, DT_UNKNOWN, O_CLOEXEC, O_RDONLY, SEEK_SET } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "./listing.ts";

/**
 * Removes a name and all that is below it, through descriptors and never through a symlink or into another mount. One
 * descriptor is open at a time, however deep the tree: the way back is "..", so the tree must not be moved by others
 * meanwhile.
 * @returns how many names were removed. @throws SysError, EBUSY where something is mounted
 */
export function removeTree(kernel: Kernel, dirFd: number, name: Buffer): number {
  const { sys, scratch } = kernel;
  const unlinked = sys.unlinkat(dirFd, scratch.at(name), 0);
  if (unlinked === 0) return 1;
  if (unlinked === -errno.ENOENT) return 0;
  if (unlinked !== -errno.EISDIR && unlinked !== -errno.EPERM) check(unlinked, "unlinkat", name);
  const listing = new Listing(sys);
  const path: Buffer[] = [name];
  let removed = 0;
  let fd = openDoomed(kernel, dirFd, name);
  try {
    const stat = statDescriptor(kernel, fd, new Stat(sys));
    const { device } = stat;
    for (;;) {
      const { count, subdirectory } = removeEntries(kernel, fd, listing);
      removed += count;
      if (subdirectory !== undefined) {
        path.push(subdirectory);
        fd = replaceDescriptor(kernel, fd, openDoomed(kernel, fd, subdirectory));
        refuseMount(kernel, fd, { stat, device, name: subdirectory });
        continue;
      }
      const emptied = path.pop() as Buffer;
      removed++;
      if (path.length > 0) fd = replaceDescriptor(kernel, fd, openDoomed(kernel, fd, Buffer.from("..")));
      const parentFd = path.length > 0 ? fd : dirFd;
      check(sys.unlinkat(parentFd, scratch.at(emptied), AT_REMOVEDIR), "rmdir", emptied);
      if (path.length === 0) return removed;
    }
  } finally {
    sys.close(fd);
  }
}

function refuseMount(
  kernel: Kernel,
  fd: number,
  { stat, device, name }: { stat: Stat; device: number; name: Buffer },
): void {
  statDescriptor(kernel, fd, stat);
  if (stat.isMountRoot ?? stat.device !== device) check(-errno.EBUSY, "rmdir", name);
}

function replaceDescriptor({ sys }: Kernel, old: number, fresh: number): number {
  sys.close(old);
  return fresh;
}

function openDoomed({ sys, scratch }: Kernel, parentFd: number, name: Buffer): number {
  const flags = O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  let fd = sys.openat(parentFd, scratch.at(name), flags, 0);
  if (fd === -errno.EACCES) {
    check(sys.fchmodat(parentFd, scratch.at(name), 0o700), "chmod", name);
    fd = sys.openat(parentFd, scratch.at(name), flags, 0);
  }
  return check(fd, "openat", name);
}

/** Removes all non-directories, and tells of one subdirectory that is left. */
function removeEntries(
  { sys }: Kernel,
  fd: number,
  listing: Listing,
): { count: number; subdirectory: Buffer | undefined } {
  let count = 0;
  let subdirectory: Buffer | undefined;
  check(sys.lseek(fd, 0, SEEK_SET), "lseek");
  while (check(listing.read(fd), "getdents64") > 0) {
    while (listing.next()) {
      let result = listing.type === DT_DIR ? -errno.EISDIR : sys.unlinkat(fd, listing.nameAddress, 0);
      if (result === -errno.EACCES) {
        check(sys.fchmod(fd, 0o700), "fchmod");
        result = sys.unlinkat(fd, listing.nameAddress, 0);
      }
      if (result === 0) count++;
      else if (result === -errno.EISDIR && (listing.type === DT_DIR || listing.type === DT_UNKNOWN)) {
        subdirectory ??= listing.copyName();
      } else if (result !== -errno.ENOENT) check(result, "unlinkat", listing.copyName());
    }
  }
  return { count, subdirectory };
}
