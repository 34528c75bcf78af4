import { AT_EMPTY_PATH, O_CLOEXEC, O_RDONLY } from "../../src/sys/constants.ts";
import { readAt, type Kernel } from "../../src/sys/files.ts";
import { Stat } from "../../src/sys/stat.ts";
import { decodeTarget, type TargetState } from "../record.ts";
import { REF_BYTES } from "../ref.ts";

/** Of the LMDB that lmdb-js 3.5 brings: MDB_page's header, MDB_node's header, P_LEAF, MDB_meta's mm_psize. */
const PAGE_HEADER = 24;
const FLAGS_AT = 18;
const LOWER_AT = 20;
const LEAF = 2;
const NODE_HEADER = 8;
const PAGE_BYTES_AT = 48;
/** Flags of a node whose value is no plain bytes, and of a page's kind. */
const KIND_BITS = 0x0f;

const OBJECT_KEY_BYTES = 1 + REF_BYTES;
const OBJECT_KEY = 0x6f;
const OBJECT_ROW_BYTES = 28;
const CHUNK_PAGES = 256;

/** What a row said of an object once: perhaps long ago, since pages that LMDB gave back are read as well. */
export type ObjectHint = { ref: Buffer; target: TargetState };

/**
 * Every row of an object in data.mdb, page by page and without LMDB: nothing is locked or written, and a damaged file
 * yields fewer rows, or senseless ones, and no crash. Whoever uses them proves each on the disk (P9).
 * @throws SysError where it cannot be read
 */
export function* objectHints(kernel: Kernel, directoryFd: number): Generator<ObjectHint> {
  const { sys, scratch } = kernel;
  const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = sys.openat(directoryFd, scratch.text("data.mdb"), flags, 0);
  if (fd < 0) return;
  try {
    const stat = new Stat(sys);
    if (sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address) < 0) return;
    const head = readAt(kernel, fd, 0, PAGE_BYTES_AT + 4);
    const pageBytes = head.length < PAGE_BYTES_AT + 4 ? 0 : head.readUInt32LE(PAGE_BYTES_AT);
    if (pageBytes < 512 || pageBytes > 65_536 || (pageBytes & (pageBytes - 1)) !== 0) return;
    const chunkBytes = CHUNK_PAGES * pageBytes;
    for (let at = 0; at < stat.sizeBytes; at += chunkBytes) {
      const chunk = readAt(kernel, fd, at, chunkBytes);
      for (let page = 0; page + pageBytes <= chunk.length; page += pageBytes)
        yield* rowsOf(chunk.subarray(page, page + pageBytes));
    }
  } finally {
    sys.close(fd);
  }
}

function* rowsOf(page: Buffer): Generator<ObjectHint> {
  if ((page.readUInt16LE(FLAGS_AT) & KIND_BITS) !== LEAF) return;
  const count = Math.min(page.readUInt16LE(LOWER_AT), page.length - PAGE_HEADER) >> 1;
  for (let index = 0; index < count; index++) {
    // Positions count from the end of the header.
    const node = page.readUInt16LE(PAGE_HEADER + index * 2) + PAGE_HEADER;
    if (node + NODE_HEADER + OBJECT_KEY_BYTES + OBJECT_ROW_BYTES > page.length) continue;
    const key = node + NODE_HEADER;
    const isObject =
      page.readUInt16LE(node) === OBJECT_ROW_BYTES &&
      page.readUInt16LE(node + 4) === 0 &&
      page.readUInt16LE(node + 6) === OBJECT_KEY_BYTES &&
      page[key] === OBJECT_KEY;
    if (!isObject) continue;
    const value = key + OBJECT_KEY_BYTES;
    yield {
      ref: page.subarray(key + 1, value),
      target: decodeTarget(page.subarray(value, value + OBJECT_ROW_BYTES)),
    };
  }
}
