import { check, errno } from "../../src/sys/errors.ts";
import { O_CLOEXEC, O_RDONLY } from "../../src/sys/constants.ts";
import { openRoot, statDescriptor, type Kernel } from "../../src/sys/files.ts";
import { Stat } from "../../src/sys/stat.ts";
import type { Index, IndexRow } from "./index.ts";
import { LOCK, reserveLock } from "./lock-file.ts";

const FILE = "data.mdb";
/** Beside the index until it is whole; a killed run leaves it, and the next one begins it anew. */
export const NEW_FILE = "data.mdb.new";
const NEW_LOCK = "data.mdb.new-lock";
const BATCH = 8192;
/** An index is rewritten where it takes half as much again as its rows need, and this. */
const SLACK_BYTES = 256 << 10;

/** Rows of all kinds, those that went, and what the file took and takes. */
export type IndexFigures = {
  rows: number;
  droppedRows: number;
  bytesBefore: number;
  bytesAfter: number;
  isRewritten: boolean;
};

/**
 * What would be left of the index, and whether it is worth a rewrite. `weighedRows`: how many rows the last look at
 * each of them kept, if nothing has left the store since; where there are as many now, all of them are kept.
 */
export function weighIndex(
  kernel: Kernel,
  directory: string,
  {
    index,
    isKept,
    weighedRows,
  }: { index: Index; isKept: (row: IndexRow) => boolean; weighedRows: number | undefined },
): IndexFigures {
  const rows = index.rowCount;
  const droppedRows = rows === weighedRows ? 0 : countDropped(index, isKept);
  const bytes = sizeOf(kernel, directory);
  const isRewritten = droppedRows > 0 || bytes > index.usedBytes * 1.5 + SLACK_BYTES;
  return { rows, droppedRows, bytesBefore: bytes, bytesAfter: bytes, isRewritten };
}

function countDropped(index: Index, isKept: (row: IndexRow) => boolean): number {
  let dropped = 0;
  for (const row of index.rows()) if (!isKept(row)) dropped++;
  return dropped;
}

/**
 * Writes the rows that are kept into a new file and renames it over the old one, which the caller closes in `close`:
 * whoever dies at any moment leaves an index that is whole. @throws SysError
 */
export async function rewriteIndex(
  kernel: Kernel,
  directory: string,
  parts: {
    index: Index;
    isKept: (row: IndexRow) => boolean;
    openNew: (path: string) => Index;
    close: () => Promise<void>;
  },
): Promise<number> {
  const { sys, scratch } = kernel;
  const dirFd = openRoot(kernel, directory);
  try {
    for (const name of [NEW_FILE, NEW_LOCK]) sys.unlinkat(dirFd, scratch.text(name), 0);
    reserveLock(kernel, dirFd, NEW_LOCK);
    const fresh = parts.openNew(`${directory}/${NEW_FILE}`);
    copyRows(parts, fresh);
    await fresh.close();
    const fd = check(sys.openat(dirFd, scratch.text(NEW_FILE), O_RDONLY | O_CLOEXEC, 0), "openat", NEW_FILE);
    check(sys.fsync(fd), "fsync", NEW_FILE);
    sys.close(fd);
    await parts.close();
    check(sys.renameat2(dirFd, scratch.text(NEW_FILE), dirFd, scratch.text(FILE), 0), "renameat2", FILE);
    check(sys.renameat2(dirFd, scratch.text(NEW_LOCK), dirFd, scratch.text(LOCK), 0), "renameat2", LOCK);
    check(sys.fsync(dirFd), "fsync", FILE);
    return sizeOf(kernel, directory);
  } finally {
    // There only where it failed.
    for (const name of [NEW_FILE, NEW_LOCK]) sys.unlinkat(dirFd, scratch.text(name), 0);
    sys.close(dirFd);
  }
}

function copyRows(
  { index, isKept }: { index: Index; isKept: (row: IndexRow) => boolean },
  fresh: Index,
): void {
  let held: IndexRow[] = [];
  let count = 0;
  for (const row of index.rows()) {
    if (!isKept(row)) continue;
    count++;
    held.push({ ...row, key: Buffer.from(row.key), value: Buffer.from(row.value) });
    if (held.length < BATCH) continue;
    fresh.put(held);
    held = [];
  }
  fresh.put(held, count);
}

function sizeOf(kernel: Kernel, directory: string): number {
  const { sys, scratch } = kernel;
  const fd = sys.openat(-100, scratch.text(`${directory}/${FILE}`), O_RDONLY | O_CLOEXEC, 0);
  if (fd === -errno.ENOENT) return 0;
  try {
    return statDescriptor(kernel, check(fd, "openat", FILE), new Stat(sys)).sizeBytes;
  } finally {
    if (fd >= 0) sys.close(fd);
  }
}
