import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } from "../../src/sys/constants.ts";
import { SysError, check, errno } from "../../src/sys/errors.ts";
import { ensureDirectory, writeAll, type Kernel } from "../../src/sys/files.ts";
import { names } from "../layout.ts";

const DATA = "data.mdb";
const ARRIVING = "data.mdb.new";
const COPIED_BYTES = 1 << 20;

/**
 * Copies a closed index into the store, whole or not at all. Without room for it the store goes without: an index only
 * saves reads (P9). @throws SysError
 */
export function moveIndex(kernel: Kernel, from: string, storeFd: number): void {
  const { sys, scratch } = kernel;
  const fromFd = sys.openat(AT_FDCWD, scratch.text(`${from}/${DATA}`), O_RDONLY | O_CLOEXEC, 0);
  if (fromFd < 0) return;
  try {
    copyInto(kernel, fromFd, storeFd);
  } catch (error) {
    if (!(error instanceof SysError) || ![errno.ENOSPC, errno.EDQUOT].includes(error.errno)) throw error;
  } finally {
    sys.close(fromFd);
  }
}

function copyInto(kernel: Kernel, fromFd: number, storeFd: number): void {
  const { sys, scratch } = kernel;
  const dirFd = ensureDirectory(kernel, storeFd, names.index);
  const remove = (): number => sys.unlinkat(dirFd, scratch.text(ARRIVING), 0);
  remove();
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = check(sys.openat(dirFd, scratch.text(ARRIVING), flags, 0o600), "openat", ARRIVING);
  try {
    const memory = sys.allocate(COPIED_BYTES);
    for (;;) {
      const got = check(sys.read(fromFd, memory.address, COPIED_BYTES), "read", DATA);
      if (got === 0) break;
      writeAll(sys, fd, memory.bytes.subarray(0, got));
    }
    check(sys.fsync(fd), "fsync", ARRIVING);
    check(sys.renameat2(dirFd, scratch.text(ARRIVING), dirFd, scratch.text(DATA), 0), "renameat2", DATA);
    check(sys.fsync(dirFd), "fsync", names.index);
  } finally {
    sys.close(fd);
    remove();
    sys.close(dirFd);
  }
}
