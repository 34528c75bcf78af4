import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "./listing.ts";

/** How many names `removeTree` would remove; no symlink is followed. What may not be read counts as empty. */
export function countTree(kernel: Kernel, dirFd: number, name: Buffer): number {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  if (sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return 0;
  if (!stat.isDirectory) return 1;
  const stack = [listNames(kernel, dirFd, name)];
  let names = 1;
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const subdirectory = top.subdirectories.pop();
    if (subdirectory !== undefined) {
      stack.push(listNames(kernel, top.fd, subdirectory));
      continue;
    }
    names += top.count;
    if (top.fd >= 0) sys.close(top.fd);
    stack.pop();
  }
  return names;
}

/** Opens a directory and lists it: how many names, and which of them are directories. */
function listNames(kernel: Kernel, dirFd: number, name: Buffer) {
  const { sys, scratch } = kernel;
  const flags = O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  const fd = sys.openat(dirFd, scratch.at(name), flags, 0);
  const subdirectories: Buffer[] = [];
  let count = 0;
  const listing = new Listing(sys);
  let got = 0;
  while (fd >= 0 && (got = listing.read(fd)) > 0) {
    while (listing.next()) {
      count++;
      if (listing.type === DT_DIR || (listing.type === DT_UNKNOWN && isDirectory(kernel, fd, listing)))
        subdirectories.push(listing.copyName());
    }
  }
  return { fd, count, subdirectories, isWhole: fd >= 0 && got === 0 };
}

function isDirectory({ sys }: Kernel, fd: number, listing: Listing): boolean {
  const stat = new Stat(sys);
  return sys.statx(fd, listing.nameAddress, AT_SYMLINK_NOFOLLOW, stat.address) === 0 && stat.isDirectory;
}

/** Whether the directory of this name holds nothing; false where it may not be read. */
export function isEmptyDirectory(kernel: Kernel, dirFd: number, name: Buffer): boolean {
  const { fd, count, isWhole } = listNames(kernel, dirFd, name);
  if (fd >= 0) kernel.sys.close(fd);
  return isWhole && count === 0;
}
