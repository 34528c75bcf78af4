import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_PATH,
  O_RDONLY,
  RENAME_NOREPLACE,
} from "../src/sys/constants.ts";
import { check, errno } from "../src/sys/errors.ts";
import type { Kernel } from "../src/sys/files.ts";
import { Stat } from "../src/sys/stat.ts";
import type { Address } from "../src/sys/sys.ts";
import type { ContentMover } from "./content.ts";
import { Index } from "./index/index.ts";
import { InodeTable, type TargetInode } from "./inode-table.ts";
import { MetInodes } from "./met-inodes.ts";
import {
  RecordBuffer,
  decodeSourceRow,
  decodeTarget,
  disbelieved,
  type KnownInode,
  type TargetState,
} from "./record.ts";
import type { Ref } from "./ref.ts";
import { variantOf, type VariantRecord } from "./variant.ts";

/** What a worker needs to join the store its process has open; descriptors are the process's. */
export type StoreShared = {
  objectsFd: number;
  groupsFd: number;
  stagingFd: number;
  journalFds: readonly [number, number];
  /** Where the index lies, as a path that this process can open. */
  indexPath: string;
  table: SharedArrayBuffer;
  /** Source inodes that were counted (met-inodes.ts). */
  met: SharedArrayBuffer;
  /**
   * Word 0: the journal that is written to. 1: the link limit met, 0 for none. 2: descriptors the table may still
   * have. 3: 1 where the index had rows as the run began. 4: 1 where objects/ was empty then.
   * 5: 1 where the index may have rows by now.
   */
  control: SharedArrayBuffer;
  /** One bit for each size of a large object of this run. */
  sizes: SharedArrayBuffer;
  /** One bit for each object of this run. */
  objects: SharedArrayBuffer;
};

const DESCRIPTORS_LEFT = 2;
export const HAD_ROWS = 3;
export const BEGAN_EMPTY = 4;
export const HAS_ROWS = 5;
const WORDS = 6;

/** 128 KiB: far more bits than there are large files of different sizes. */
const SIZE_BITS = 1 << 20;
/** 1 MiB: of a million objects one in nine shares its bit with another, which costs a look. */
const OBJECT_BITS = 1 << 23;

/** Memory that the threads of a run share, all zero: nothing is known yet. */
export function sharedMemory(): Pick<StoreShared, "table" | "control" | "sizes" | "objects"> {
  return {
    table: InodeTable.allocate(),
    control: new SharedArrayBuffer(WORDS * 4),
    sizes: new SharedArrayBuffer(SIZE_BITS / 8),
    objects: new SharedArrayBuffer(OBJECT_BITS / 8),
  };
}

/** For threads that only look at a store: nothing is recorded. */
export function shareForReading(
  store: Pick<StoreShared, "objectsFd" | "groupsFd" | "stagingFd" | "indexPath"> & {
    met?: SharedArrayBuffer;
  },
): StoreShared {
  const memory = sharedMemory();
  for (const word of [HAD_ROWS, HAS_ROWS]) new Int32Array(memory.control)[word] = 1;
  return { met: MetInodes.allocate(), ...store, journalFds: [-1, -1], ...memory };
}

/** Records held back until so many are together, or so much content: what a kill makes the next run read again. */
const HELD_RECORDS = 64;
const HELD_CONTENT_BYTES = 8 << 10;

/** Reads the xattrs that count, sorted by name. */
export type XattrReader = { read(door: { path: Buffer }): NonNullable<VariantRecord["xattrs"]> };

/** What is expected of an object: those of its attributes that are compared; of xattrs only that they are. */
export type LookedFor = VariantRecord & {
  sizeBytes: number;
  /** Its inode as a source row has it: the object's own row lies at a random place of the index, which costs a read. */
  known?: TargetState;
  /** Its content was just read, and is what its name says. */
  isRead?: boolean;
  /** No row is believed: the content is read. */
  isDoubted?: boolean;
};

export type Look = "absent" | "sound" | "bad";

/** One thread's use of the store. */
export class StoreSession {
  readonly table: InodeTable;
  readonly met: MetInodes;
  /** The object last found sound by `look`, or last adopted. */
  readonly found: TargetInode & { mtimeNs: bigint; ino: bigint } = {
    inoLow: 0,
    inoHigh: 0,
    links: 0,
    sizeBytes: 0,
    mtimeNs: 0n,
    ino: 0n,
  };
  readonly #kernel: Kernel;
  readonly #shared: StoreShared;
  readonly #control: Int32Array;
  /** Of a new index, opened when there is a row in it. */
  #index: Index | undefined;
  readonly #sizes: Int32Array;
  readonly #objects: Int32Array;
  readonly #stat: Stat;
  readonly #records: RecordBuffer;
  #heldContentBytes = 0;
  readonly #content: ContentMover;
  readonly #xattrs: XattrReader;

  constructor(
    kernel: Kernel,
    shared: StoreShared,
    { content, xattrs }: { content: ContentMover; xattrs: XattrReader },
  ) {
    this.#kernel = kernel;
    this.#shared = shared;
    this.#control = new Int32Array(shared.control);
    this.#content = content;
    this.#xattrs = xattrs;
    this.table = new InodeTable(shared.table);
    this.met = new MetInodes(shared.met);
    this.#sizes = new Int32Array(shared.sizes);
    this.#objects = new Int32Array(shared.objects);
    // One that is only read may be removed while it is open.
    if (Atomics.load(this.#control, HAS_ROWS) !== 0) this.#index = this.#open();
    this.#stat = new Stat(kernel.sys);
    this.#records = new RecordBuffer(kernel.sys, HELD_RECORDS);
  }

  get #rows(): Index | undefined {
    if (this.#index === undefined && Atomics.load(this.#control, HAS_ROWS) !== 0) this.#index = this.#open();
    return this.#index;
  }

  /** @throws SysError where the index went while the run was on. */
  #open(): Index {
    const { sys, scratch } = this.#kernel;
    const { indexPath } = this.#shared;
    check(sys.statx(AT_FDCWD, scratch.text(indexPath), 0, new Stat(sys).address), "statx", indexPath);
    return Index.open(indexPath, "read");
  }

  /** Whether an earlier run has left rows in the index. */
  get hadRows(): boolean {
    return Atomics.load(this.#control, HAD_ROWS) !== 0;
  }

  /** What an earlier run knew of this source inode; to be compared before it is believed. Valid until the next call. */
  known(identity: Uint8Array, ino: bigint): ReturnType<typeof decodeSourceRow> | undefined {
    const row = this.#rows?.source(identity, ino);
    return row === undefined ? undefined : decodeSourceRow(row);
  }

  /**
   * Whether some object of this size seems to be known: then a large file is worth hashing before it is copied. Sizes
   * of this run are remembered by one bit each, so that a wrong yes is possible and costs a reading.
   */
  knowsSize(sizeBytes: number): boolean {
    const { word, bit } = this.#sizeBit(sizeBytes);
    return (Atomics.load(this.#sizes, word) & bit) !== 0 || (this.#rows?.hasSize(sizeBytes) ?? false);
  }

  noteSize(sizeBytes: number): void {
    const { word, bit } = this.#sizeBit(sizeBytes);
    Atomics.or(this.#sizes, word, bit);
  }

  #sizeBit(sizeBytes: number): { word: number; bit: number } {
    const mixed =
      Math.imul((sizeBytes >>> 0) ^ Math.imul(sizeBytes / 0x100000000, 0x9e3779b1), 0x85ebca6b) >>> 0;
    return { word: (mixed >>> 5) % this.#sizes.length, bit: 1 << (mixed & 31) };
  }

  directoryOf(ref: Ref): number {
    return ref.kind === "object" ? this.#shared.objectsFd : this.#shared.groupsFd;
  }

  fdOf(directory: "objects" | "groups"): number {
    return directory === "objects" ? this.#shared.objectsFd : this.#shared.groupsFd;
  }

  /**
   * The hot path: links the inode that `table.find` returned last, by a descriptor where the table has one, which
   * spares the kernel the path's lookup. A descriptor means the very inode that was checked.
   */
  linkHit(ref: Ref, dirFd: number, name: Address): number {
    const { hit } = this.table;
    const { sys, scratch } = this.#kernel;
    if (hit.fd >= 0) {
      const result = sys.linkat(hit.fd, scratch.empty, dirFd, name, AT_EMPTY_PATH);
      if (result !== -errno.ENOENT) return result;
      // Not allowed without CAP_DAC_READ_SEARCH (open(2)).
      Atomics.store(this.#control, DESCRIPTORS_LEFT, 0);
    } else if (Atomics.load(this.#control, DESCRIPTORS_LEFT) > 0) this.#lendDescriptor(ref);
    return this.link(ref, dirFd, name);
  }

  #lendDescriptor(ref: Ref): void {
    const { sys } = this.#kernel;
    const { slot } = this.table.hit;
    Atomics.sub(this.#control, DESCRIPTORS_LEFT, 1);
    const fd = sys.openat(this.directoryOf(ref), ref.format(), O_PATH | O_CLOEXEC | sys.O_NOFOLLOW, 0);
    if (fd < 0) Atomics.store(this.#control, DESCRIPTORS_LEFT, 0);
    else if (!this.table.lend(slot, ref, fd)) sys.close(fd);
  }

  /** linkat from the store: 0 or -errno. */
  link(ref: Ref, dirFd: number, name: Address): number {
    return this.#kernel.sys.linkat(this.directoryOf(ref), ref.format(), dirFd, name, 0);
  }

  /** statx of the inode under the reference's name into `stat`: 0 or -errno. */
  stat(ref: Ref, stat: Stat): number {
    return this.#kernel.sys.statx(this.directoryOf(ref), ref.format(), AT_SYMLINK_NOFOLLOW, stat.address);
  }

  /**
   * Whether the object may be linked to. It may when this run made or checked it, or when its inode is still what
   * the index says (rows are written after the content is durable), or when hashing it again gives its name:
   * after a crash an object may hold anything (docs/design.md, "Sealing a batch").
   * @throws SysError when the target fails.
   */
  look(ref: Ref, expected: LookedFor): Look {
    if (this.table.findObject(ref)) {
      // Links made through other entries are not in the count of this one.
      check(this.stat(ref, this.#stat), "statx", ref.text);
      this.remember(this.#stat);
      return "sound";
    }
    return this.#isCertainlyNew(ref) ? "absent" : this.lookOnDisk(ref, expected);
  }

  /** As `look`, but nothing that this run remembers counts: someone may have written to the object since. */
  lookOnDisk(ref: Ref, expected: LookedFor): Look {
    const result = this.stat(ref, this.#stat);
    if (result === -errno.ENOENT) return "absent";
    check(result, "statx", ref.text);
    this.remember(this.#stat);
    if (!this.#attributesAre(ref, expected)) return "bad";
    if (expected.isRead !== true && !this.#isRemembered(ref, expected) && !this.#hashesToItsName(ref))
      return "bad";
    this.table.insertObject(ref, this.found);
    return "sound";
  }

  #isRemembered(ref: Ref, { isDoubted, known }: LookedFor): boolean {
    return isDoubted !== true && (this.#isFound(known) || this.#isFound(this.sealed(ref)));
  }

  /** In a store that began empty an object is there only if this run made it: a bit spares the kernel the search. */
  #isCertainlyNew(ref: Ref): boolean {
    if (Atomics.load(this.#control, BEGAN_EMPTY) === 0) return false;
    const { word, bit } = this.#objectBit(ref);
    return (Atomics.load(this.#objects, word) & bit) === 0;
  }

  /** By the digest alone, which is uniform. */
  #objectBit({ words }: Ref): { word: number; bit: number } {
    const first = words[0] as number;
    return { word: (first >>> 5) % this.#objects.length, bit: 1 << (first & 31) };
  }

  /** Takes a target inode's state over into `found`. */
  remember(stat: Stat): void {
    const { found } = this;
    found.inoLow = stat.inoLow;
    found.inoHigh = stat.inoHigh;
    found.ino = stat.ino;
    found.links = stat.nlink;
    // A symlink has no content of its own: what it would take to copy its names is not counted either.
    found.sizeBytes = stat.isRegular ? stat.sizeBytes : 0;
    found.mtimeNs = stat.mtimeNs;
  }

  /** Of what is in `stat`. Xattrs are not always known (the quick check spares them); its name says them, too. */
  #attributesAre(ref: Ref, { mode, owner, mtimeNs, xattrs, sizeBytes }: LookedFor): boolean {
    const stat = this.#stat;
    if (!stat.isRegular || stat.sizeBytes !== sizeBytes) return false;
    if (mode !== undefined && (stat.mode & 0o7777) !== mode) return false;
    if (owner !== undefined && (stat.uid !== owner.uid || stat.gid !== owner.gid)) return false;
    if (mtimeNs !== undefined && stat.mtimeNs !== mtimeNs) return false;
    if (xattrs === undefined) return true;
    const path = Buffer.from(`/proc/self/fd/${String(this.directoryOf(ref))}/${ref.text}`);
    return variantOf({ mode, owner, mtimeNs, xattrs: this.#xattrs.read({ path }) }).equals(ref.variant);
  }

  /** The inode that the reference stood for when its content was last known to be right. */
  sealed(ref: Ref): TargetState | undefined {
    const row = this.#rows?.object(ref.bytes);
    return row === undefined ? undefined : decodeTarget(row);
  }

  /** The inode has not the content any more that the index remembers: from the next seal on nobody believes it. */
  distrust(ref: Ref, ino: bigint): void {
    const row = this.sealed(ref);
    if (row?.ino === ino && row.sizeBytes > 0) this.record(disbelieved(row, ref.bytes));
  }

  #isFound(target: TargetState | undefined): boolean {
    if (target === undefined) return false;
    const { found } = this;
    return (
      target.ino === found.ino && target.sizeBytes === found.sizeBytes && target.mtimeNs === found.mtimeNs
    );
  }

  #hashesToItsName(ref: Ref): boolean {
    const { sys } = this.#kernel;
    const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = check(sys.openat(this.#shared.objectsFd, ref.format(), flags, 0), "openat", ref.text);
    try {
      return this.#content.hash(fd, this.found.sizeBytes)?.equals(ref.digest) ?? false;
    } finally {
      sys.close(fd);
    }
  }

  /**
   * Gives the inode that is `name` in `dirFd` its name in the store.
   * @returns 0; -EEXIST when the store has that name already (another worker was first); -EMLINK.
   */
  adopt(ref: Ref, dirFd: number, name: Address): number {
    // Before the name is there: who finds no bit need not look.
    const { word, bit } = this.#objectBit(ref);
    Atomics.or(this.#objects, word, bit);
    return this.#inFanOut(ref, () =>
      this.#kernel.sys.linkat(dirFd, name, this.directoryOf(ref), ref.format(), 0),
    );
  }

  /** Gives an object another name, of the same kind: 0; -EEXIST when the store has that name already. */
  move(from: Ref, to: Ref): number {
    const directory = this.directoryOf(to);
    return this.#inFanOut(to, () =>
      this.#kernel.sys.renameat2(directory, from.format(), directory, to.format(), RENAME_NOREPLACE),
    );
  }

  /** Makes the directory of the reference where the call needs it. */
  #inFanOut(ref: Ref, call: () => number): number {
    const result = call();
    if (result !== -errno.ENOENT) return result;
    const fanOut = this.#kernel.scratch.text(ref.text.slice(0, 2));
    const made = this.#kernel.sys.mkdirat(this.directoryOf(ref), fanOut, 0o700);
    if (made < 0 && made !== -errno.EEXIST) return made;
    return call();
  }

  /** Takes a name away from an inode that is not what the name says; the snapshots' names of it stay. */
  discard(ref: Ref): void {
    check(this.#kernel.sys.unlinkat(this.directoryOf(ref), ref.format(), 0), "unlinkat", ref.text);
  }

  /** Puts what became known on its way to the index; sealed later by the process (store.ts). */
  record(known: KnownInode): void {
    this.#records.append(known);
    this.#heldContentBytes += known.source.sizeBytes;
    if (this.#records.isFull || this.#heldContentBytes >= HELD_CONTENT_BYTES) this.flushRecords();
  }

  /** Writes the records held back to the journal, with one call; at the end of every task. */
  flushRecords(): void {
    const { lengthBytes, memory } = this.#records;
    if (lengthBytes === 0) return;
    this.#records.clear();
    this.#heldContentBytes = 0;
    const active = Atomics.load(this.#control, 0) === 0 ? 0 : 1;
    const written = this.#kernel.sys.write(this.#shared.journalFds[active], memory.address, lengthBytes);
    // A record that is lost costs a read later; what frees a full disk must go on.
    if (written !== -errno.ENOSPC && written !== -errno.EDQUOT) check(written, "write", "journal");
  }

  /** The link limit that EMLINK taught this run, 0 for none yet. */
  get linkLimit(): number {
    return Atomics.load(this.#control, 1);
  }

  learnLinkLimit(limit: number): void {
    const known = Atomics.load(this.#control, 1);
    if (known === 0 || limit < known) Atomics.store(this.#control, 1, limit);
  }

  /** Lets later reads see rows committed since; call between tasks and directories, never per name. */
  refresh(): void {
    this.#index?.refresh();
  }

  async close(): Promise<void> {
    await this.#index?.close();
  }
}
