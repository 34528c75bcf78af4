import { AT_EMPTY_PATH, O_CLOEXEC, O_RDONLY } from "../../src/sys/constants.ts";
import { openRoot, readAt, type Kernel } from "../../src/sys/files.ts";
import { Stat } from "../../src/sys/stat.ts";

const MAGIC = 0xbeefc0de;
const META_BYTES = 4096;
/** Pages at the end of the file that a transaction took and gave back are counted, but never written. */
const SLACK_PAGES = 16;

/**
 * Whether data.mdb is one, and whole. LMDB maps the file and believes it: beyond the end of a file that was cut
 * short lies SIGBUS, which no program survives. Offsets are those of the LMDB that lmdb-js 3.5 brings (MDB_meta
 * behind a page header of 24 bytes).
 */
export function looksSound(kernel: Kernel, directoryFd: number): boolean {
  const { sys, scratch } = kernel;
  const fd = sys.openat(directoryFd, scratch.text("data.mdb"), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return true;
  try {
    const stat = new Stat(sys);
    if (sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address) < 0) return false;
    if (stat.sizeBytes === 0) return true;
    const first = readAt(kernel, fd, 0, META_BYTES);
    const pageBytes = first.length < META_BYTES ? 0 : first.readUInt32LE(48);
    if (pageBytes < 512 || pageBytes > 65_536) return false;
    const metas = [first, readAt(kernel, fd, pageBytes, META_BYTES)];
    return metas.every((meta) => isWithin(meta, stat.sizeBytes / pageBytes));
  } finally {
    sys.close(fd);
  }
}

/** The roots of both trees lie in the file, and so does nearly everything else. */
function isWithin(meta: Buffer, pages: number): boolean {
  if (meta.length < 160 || meta.readUInt32LE(24) !== MAGIC) return false;
  const roots = [meta.readBigInt64LE(88), meta.readBigInt64LE(136)];
  const last = Number(meta.readBigUInt64LE(144));
  const slack = Math.min(SLACK_PAGES, last >> 3);
  return roots.every((root) => root < BigInt(Math.floor(pages))) && last < pages + slack;
}

/** As `looksSound`, of an index in a directory that must be there. @throws SysError */
export function looksSoundAt(kernel: Kernel, path: string): boolean {
  const directory = openRoot(kernel, path);
  try {
    return looksSound(kernel, directory);
  } finally {
    kernel.sys.close(directory);
  }
}
