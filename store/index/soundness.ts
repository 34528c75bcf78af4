import { AT_EMPTY_PATH, O_CLOEXEC, O_RDONLY } from "../../src/sys/constants.ts";
import { isSysError } from "../../src/sys/errors.ts";
import { openRoot, readAt, type Kernel } from "../../src/sys/files.ts";
import { Stat } from "../../src/sys/stat.ts";
import { areTreesWhole, type Tree } from "./page-check.ts";

const MAGIC = 0xbeefc0de;
const META_BYTES = 4096;
/** Pages at the end of the file that a transaction took and gave back are counted, but never written. */
const SLACK_PAGES = 16;
/** Offsets in a meta page of the LMDB that lmdb-js 3.5 brings: MDB_meta behind a page header of 24 bytes. */
const PAGE_BYTES_AT = 48;
const FREE_DEPTH_AT = 54;
const FREE_ROOT_AT = 88;
const DEPTH_AT = 102;
const ROOT_AT = 136;
const LAST_PAGE_AT = 144;
const TRANSACTION_AT = 152;

/**
 * Whether data.mdb is one, and of the length that it says. LMDB maps the file and believes it: beyond the end of a file
 * that was cut short lies SIGBUS, which no program survives.
 */
export function looksSound(kernel: Kernel, directoryFd: number): boolean {
  return judge(kernel, directoryFd, () => true);
}

/** As `looksSound`, and no page is damaged so that LMDB would stumble over it; nobody may write to the index meanwhile. */
export function isSound(kernel: Kernel, directoryFd: number): boolean {
  return judge(kernel, directoryFd, (fd, { pageBytes, pages, metas }) => {
    const [newest] = metas.toSorted((a, b) => transactionOf(b) - transactionOf(a)) as [Buffer];
    const lastPage = Number(newest.readBigUInt64LE(LAST_PAGE_AT));
    const free = treeAt(newest, FREE_ROOT_AT, FREE_DEPTH_AT);
    const main = treeAt(newest, ROOT_AT, DEPTH_AT);
    try {
      return areTreesWhole(kernel, { fd, pageBytes, pages, lastPage }, { free, main });
    } catch (error) {
      if (isSysError(error)) return false;
      throw error;
    }
  });
}

type Head = { pageBytes: number; pages: number; metas: Buffer[] };

/** An index that is not there, or empty, is sound. */
function judge(kernel: Kernel, directoryFd: number, more: (fd: number, head: Head) => boolean): boolean {
  const { sys, scratch } = kernel;
  const fd = sys.openat(directoryFd, scratch.text("data.mdb"), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return true;
  try {
    const stat = new Stat(sys);
    if (sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address) < 0) return false;
    if (stat.sizeBytes === 0) return true;
    const first = readAt(kernel, fd, 0, META_BYTES);
    const pageBytes = first.length < META_BYTES ? 0 : first.readUInt32LE(PAGE_BYTES_AT);
    if (pageBytes < 512 || pageBytes > 65_536 || (pageBytes & (pageBytes - 1)) !== 0) return false;
    const metas = [first, readAt(kernel, fd, pageBytes, META_BYTES)];
    const pages = Math.floor(stat.sizeBytes / pageBytes);
    return metas.every((meta) => isWithin(meta, pages)) && more(fd, { pageBytes, pages, metas });
  } finally {
    sys.close(fd);
  }
}

/** The roots of both trees lie in the file, and so does nearly everything else. */
function isWithin(meta: Buffer, pages: number): boolean {
  if (meta.length < 160 || meta.readUInt32LE(24) !== MAGIC) return false;
  const roots = [meta.readBigInt64LE(FREE_ROOT_AT), meta.readBigInt64LE(ROOT_AT)];
  const last = Number(meta.readBigUInt64LE(LAST_PAGE_AT));
  const slack = Math.min(SLACK_PAGES, last >> 3);
  return roots.every((root) => root < BigInt(pages)) && last < pages + slack;
}

const transactionOf = (meta: Buffer): number => Number(meta.readBigUInt64LE(TRANSACTION_AT));

function treeAt(meta: Buffer, rootAt: number, depthAt: number): Tree {
  const root = meta.readBigInt64LE(rootAt);
  return { root: root < 0n ? undefined : Number(root), depth: meta.readUInt16LE(depthAt) };
}

/** As `isSound`, of an index in a directory that must be there. @throws SysError */
export function isSoundAt(kernel: Kernel, path: string): boolean {
  const directory = openRoot(kernel, path);
  try {
    return isSound(kernel, directory);
  } finally {
    kernel.sys.close(directory);
  }
}
