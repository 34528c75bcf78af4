import { check } from "../../src/sys/errors.ts";
import { readAt, type Kernel } from "../../src/sys/files.ts";

/*
 * MDB_page's header, MDB_node's header and MDB_ovpage as in the mdb.c that lmdb-js 3.5 brings: page number, transaction,
 * pad, flags, lower, upper; size of the value (of a branch the number of the child), flags, size of the key; number of
 * the first overflow page, transaction, pages.
 */
const PAGE_HEADER = 24;
const FLAGS_AT = 18;
const LOWER_AT = 20;
const UPPER_AT = 22;
const NODE_HEADER = 8;
const BIG_VALUE = 1;
const BIG_VALUE_BYTES = 24;
const INVALID = 0;
const BRANCH = 1;
const LEAF = 2;
const OVERFLOW = 4;
const CHUNK_BYTES = 1 << 20;

/** Of the newest transaction; `root` undefined: it is empty. */
export type Tree = { root: number | undefined; depth: number };
export type Trees = { free: Tree; main: Tree };
type IndexFile = { fd: number; pageBytes: number; pages: number; lastPage: number };

/**
 * `kinds`: BRANCH, LEAF, OVERFLOW or INVALID, a byte a page. `below`: pages that a branch, or a leaf's large values, lead
 * to. `isLive`: 1 for what is in a tree.
 */
type Pages = { kinds: Uint8Array; below: Map<number, number[]>; isLive: Uint8Array };

/**
 * Whether all pages of the trees are what their place in them says, each entry lies within its page, and no page of a
 * tree passes for free. LMDB believes what it maps: where a page is damaged it asserts (SIGABRT) or goes beyond the map
 * (SIGSEGV, SIGBUS), and no program survives either. The file is read once, from its beginning to its end, which warms
 * the cache for the lookups that follow. @throws SysError where it cannot be read
 */
export function areTreesWhole(kernel: Kernel, file: IndexFile, { free, main }: Trees): boolean {
  const pages = readPages(kernel, file);
  const freeLists = leavesOf(pages, free);
  if (freeLists === undefined || leavesOf(pages, main) === undefined) return false;
  return freeLists.every((leaf) => {
    const bytes = readAt(kernel, file.fd, leaf * file.pageBytes, file.pageBytes);
    return [...valuesOf(kernel, file, bytes)].every((value) =>
      isFreeList(value, file.lastPage, pages.isLive),
    );
  });
}

/** Level by level: all leaves are on the last one. @returns undefined: the tree is damaged */
function leavesOf({ kinds, below, isLive }: Pages, { root, depth }: Tree): number[] | undefined {
  if (root === undefined) return [];
  let level = [root];
  let leaves: number[] = [];
  for (let at = 1; at <= depth; at++) {
    const kind = at === depth ? LEAF : BRANCH;
    for (const page of level) {
      if (kinds[page] !== kind || isLive[page] === 1) return undefined;
      isLive[page] = 1;
    }
    leaves = level;
    level = level.flatMap((page) => below.get(page) ?? []);
  }
  for (const page of level) {
    if (kinds[page] !== OVERFLOW) return undefined;
    isLive[page] = 1;
  }
  return leaves;
}

function* valuesOf(kernel: Kernel, { fd, pageBytes }: IndexFile, page: Buffer): Generator<Buffer> {
  for (let index = 0; index < page.readUInt16LE(LOWER_AT) >> 1; index++) {
    const node = PAGE_HEADER + page.readUInt16LE(PAGE_HEADER + index * 2);
    const sizeBytes = page.readUInt32LE(node);
    const value = node + NODE_HEADER + page.readUInt16LE(node + 6);
    const isBig = page.readUInt16LE(node + 4) === BIG_VALUE;
    const first = isBig ? Number(page.readBigUInt64LE(value)) : 0;
    yield isBig
      ? readAt(kernel, fd, first * pageBytes + PAGE_HEADER, sizeBytes)
      : page.subarray(value, value + sizeBytes);
  }
}

/**
 * MDB_IDL as lmdb-js has it (midl.c): how many words follow; each is the number of a page, 0 for nothing, or a negative
 * length before the number of the first page of so many.
 */
function isFreeList(value: Buffer, lastPage: number, isLive: Uint8Array): boolean {
  const words = value.length >> 3;
  const count = words === 0 ? 0 : Number(value.readBigUInt64LE(0));
  if (words === 0 || count >= words) return false;
  let length = 1;
  for (let index = 1; index <= count; index++) {
    const word = Number(value.readBigInt64LE(index * 8));
    if (Math.abs(word) > lastPage + 1) return false;
    if (word > 0 && isLive.subarray(word, word + length).includes(1)) return false;
    length = word < 0 ? -word : 1;
  }
  return true;
}

function readPages({ sys }: Kernel, { fd, pageBytes, pages }: IndexFile): Pages {
  const found: Pages = { kinds: new Uint8Array(pages), below: new Map(), isLive: new Uint8Array(pages) };
  const memory = sys.allocate(CHUNK_BYTES);
  const atOnce = CHUNK_BYTES / pageBytes;
  for (let first = 0; first < pages; first += atOnce) {
    const got = check(sys.pread(fd, memory.address, CHUNK_BYTES, first * pageBytes), "read", "index");
    const end = Math.min(pages, first + Math.floor(got / pageBytes));
    for (let page = first; page < end; page++) {
      const bytes = memory.bytes.subarray((page - first) * pageBytes, (page - first + 1) * pageBytes);
      const below: number[] = [];
      found.kinds[page] = kindOf(bytes, { page, pages, below });
      if (below.length > 0) found.below.set(page, below);
    }
  }
  return found;
}

/** A page by its number, of so many; `below` is filled with the numbers of those that it leads to. */
type Place = { page: number; pages: number; below: number[] };

/** Of a page that LMDB has given back it says what that was. */
function kindOf(bytes: Buffer, place: Place): number {
  const { page } = place;
  if (bytes.readUInt32LE(0) !== page || bytes.readUInt32LE(4) !== 0) return INVALID;
  const kind = bytes.readUInt16LE(FLAGS_AT);
  if (kind === OVERFLOW) return kind;
  if (kind !== BRANCH && kind !== LEAF) return INVALID;
  const lower = bytes.readUInt16LE(LOWER_AT);
  const upper = bytes.readUInt16LE(UPPER_AT);
  if (lower % 2 !== 0 || lower > upper || PAGE_HEADER + upper > bytes.length) return INVALID;
  const count = lower >> 1;
  // Of a branch that leads to one page alone LMDB makes none.
  if (count < (kind === BRANCH ? 2 : 1)) return INVALID;
  for (let index = 0; index < count; index++) {
    const position = bytes.readUInt16LE(PAGE_HEADER + index * 2);
    if (position < upper || !isNodeWithin(bytes, PAGE_HEADER + position, kind, place)) return INVALID;
  }
  return kind;
}

function isNodeWithin(bytes: Buffer, node: number, kind: number, { pages, below }: Place): boolean {
  const key = node + NODE_HEADER;
  if (node % 2 !== 0 || key > bytes.length) return false;
  const number = bytes.readUInt32LE(node);
  const flags = bytes.readUInt16LE(node + 4);
  const value = key + bytes.readUInt16LE(node + 6);
  if (kind === BRANCH) {
    below.push(flags * 2 ** 32 + number);
    return value <= bytes.length;
  }
  if (flags === 0) return value + number <= bytes.length;
  if (flags !== BIG_VALUE || value + BIG_VALUE_BYTES > bytes.length) return false;
  const first = Number(bytes.readBigUInt64LE(value));
  below.push(first);
  return first * bytes.length + PAGE_HEADER + number <= pages * bytes.length;
}
