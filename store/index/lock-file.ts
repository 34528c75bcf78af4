import { O_CLOEXEC, O_CREAT, O_EXCL, O_WRONLY } from "../../src/sys/constants.ts";
import { check, errno } from "../../src/sys/errors.ts";
import { writeAll, type Kernel } from "../../src/sys/files.ts";

export const LOCK = "lock.mdb";
/** More than LMDB's lock and its 256 readers take. */
const LOCK_BYTES = 32_768;

/**
 * LMDB makes its lock a file of holes and maps it: on a full disk the first write there is SIGBUS, which no program
 * survives. So it finds one that has its blocks. @throws SysError where there is no room for it
 */
export function reserveLock({ sys, scratch }: Kernel, dirFd: number, name: string): void {
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = sys.openat(dirFd, scratch.text(name), flags, 0o600);
  if (fd === -errno.EEXIST) return;
  check(fd, "openat", name);
  try {
    writeAll(sys, fd, Buffer.alloc(LOCK_BYTES));
  } catch (error) {
    sys.unlinkat(dirFd, scratch.text(name), 0);
    throw error;
  } finally {
    sys.close(fd);
  }
}
