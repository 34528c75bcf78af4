import { AT_EMPTY_PATH, O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { descriptorLimit } from "../tree/descriptors.ts";
import { openBelow } from "../tree/path.ts";
import { EntryFailure, onTarget } from "../work/errors.ts";
import type { HeapReader, HeapWriter } from "./heap.ts";
import { ScatteredRecords, writeScratch } from "./record-file.ts";

/** No parent: the name is the path from the root. */
const NONE = 0xffffffff;
const PARENT = 0;
const NAME = 1;
const DIR_INO_HIGH = 4;
const DIR_INO_LOW = 5;
const DIRECTORY_WORDS = 8;
/** Descriptors that a thread keeps open, where all threads together may have so many. */
const OPEN_MOST = 192;
const OPEN_LEAST = 16;
/** What is kept of the records: those of 16,000 directories. */
const CACHE_BYTES = 1 << 19;
const SLASH = Buffer.from("/");

/** Writes the directories a walk meets, each at its number. */
export class DirectoryWriter {
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #memory;
  readonly #words: Uint32Array;

  constructor(kernel: Kernel, fd: number) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#memory = kernel.sys.allocate(DIRECTORY_WORDS * 4);
    const { buffer, byteOffset } = this.#memory.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, DIRECTORY_WORDS);
  }

  /** `parent` -1: `name` is the path from the root. */
  put(
    id: number,
    directory: { parent: number; name: Buffer; inoHigh: number; inoLow: number },
    heap: HeapWriter,
  ): void {
    const { parent, name, inoHigh, inoLow } = directory;
    const words = this.#words;
    words[PARENT] = parent < 0 ? NONE : parent;
    heap.append(name, words, NAME);
    words[DIR_INO_HIGH] = inoHigh;
    words[DIR_INO_LOW] = inoLow;
    const bytes = DIRECTORY_WORDS * 4;
    writeScratch(this.#kernel.sys, this.#fd, this.#memory, bytes, id * bytes);
  }
}

type Known = { parent: number; name: Buffer; inoHigh: number; inoLow: number };

type DirectoriesParts = { rootFd: number; device: number; fd: number; heap: HeapReader; threads: number };

/** Opens directories of the stock by their number, and keeps some of them open. One per thread. */
export class Directories {
  readonly #kernel: Kernel;
  readonly #rootFd: number;
  readonly #device: number;
  readonly #records: ScatteredRecords;
  readonly #heap: HeapReader;
  readonly #stat: Stat;
  readonly #open = new Map<number, number>();
  readonly #openMost: number;

  constructor(kernel: Kernel, parts: DirectoriesParts) {
    this.#kernel = kernel;
    // The main thread has some, too, and half of them are for everything else.
    const share = Math.floor(descriptorLimit(kernel) / 2 / (parts.threads + 1));
    this.#openMost = Math.max(OPEN_LEAST, Math.min(OPEN_MOST, share));
    this.#rootFd = parts.rootFd;
    this.#device = parts.device;
    this.#records = new ScatteredRecords(kernel.sys, parts.fd, DIRECTORY_WORDS, CACHE_BYTES);
    this.#heap = parts.heap;
    this.#stat = new Stat(kernel.sys);
  }

  #known(id: number): Known {
    const words = this.#records.at(id);
    const parent = words[PARENT] as number;
    return {
      parent: parent === NONE ? -1 : parent,
      inoHigh: words[DIR_INO_HIGH] as number,
      inoLow: words[DIR_INO_LOW] as number,
      name: this.#heap.read(words, NAME),
    };
  }

  /** Path from the root. */
  pathOf(id: number): Buffer {
    const parts: Buffer[] = [];
    for (let at = id; at >= 0;) {
      const { parent, name } = this.#known(at);
      if (name.length > 0) parts.push(...(parts.length === 0 ? [] : [SLASH]), name);
      at = parent;
    }
    return Buffer.concat(parts.reverse());
  }

  /** Where the walk began that met it: the length of its path from the root, and its inode. */
  topOf(id: number): { length: number; inoHigh: number; inoLow: number } {
    let top = this.#known(id);
    while (top.parent >= 0) top = this.#known(top.parent);
    return { length: top.name.length, inoHigh: top.inoHigh, inoLow: top.inoLow };
  }

  /**
   * A descriptor of the directory, valid until `OPEN_LEAST` others were opened; not to be closed.
   * @throws EntryFailure where another directory has its place by now, or none
   */
  open(id: number): number {
    const held = this.#open.get(id);
    if (held !== undefined) {
      this.#open.delete(id);
      this.#open.set(id, held);
      return held;
    }
    const known = this.#known(id);
    const { sys, scratch } = this.#kernel;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd =
      known.parent < 0
        ? openBelow(this.#kernel, this.#rootFd, known.name)
        : openQuietly(sys, this.open(known.parent), scratch.at(known.name), flags);
    if (fd === -errno.ENOENT || fd === -errno.ENOTDIR) throw new GoneDirectory();
    if (fd === -errno.ELOOP) throw moved();
    onTarget(fd, "openat");
    this.#prove(fd, known);
    this.#open.set(id, fd);
    this.#trim();
    return fd;
  }

  #prove(fd: number, { inoHigh, inoLow }: Known): void {
    const { sys, scratch } = this.#kernel;
    const stat = this.#stat;
    const statted = sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address);
    if (statted === 0 && stat.device === this.#device && stat.inoLow === inoLow && stat.inoHigh === inoHigh)
      return;
    sys.close(fd);
    throw moved();
  }

  #trim(): void {
    if (this.#open.size <= this.#openMost) return;
    for (const [id, fd] of this.#open) {
      this.#open.delete(id);
      this.#kernel.sys.close(fd);
      return;
    }
  }

  /** Nothing is held of the stock either: it may be taken anew. */
  close(): void {
    this.#records.forget();
    for (const fd of this.#open.values()) this.#kernel.sys.close(fd);
    this.#open.clear();
  }
}

const MOVED = "its directory was moved or replaced meanwhile; it was left alone";

function moved(): EntryFailure {
  return new EntryFailure("CHANGED", MOVED);
}

/** It is not under its path any more: it was removed, as snapshots are, or moved. */
export class GoneDirectory extends EntryFailure {
  constructor() {
    super("CHANGED", MOVED);
  }
}
