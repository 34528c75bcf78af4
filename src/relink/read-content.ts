import { AT_EMPTY_PATH, F_RDLCK, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import type { Stat } from "../sys/stat.ts";
import { NO_OBJECT, SMALL_BYTES, blake3, variantOf, type SourceState } from "../../store/store.ts";
import type { Xattr } from "../tree/attributes.ts";
import { isLasting } from "../tree/identity.ts";
import { EntryFailure, fromSource, onSource } from "../work/errors.ts";
import {
  CTIME,
  DIGEST,
  DIGEST_WORDS,
  GENERATION,
  INODE_WORDS,
  MTIME,
  NAMES_AT_HIGH,
  PLACE_WORDS,
  SIZE_HIGH,
  STATX_WORDS,
  UNLINKABLE,
  UNREAD,
  XATTR_MARK,
  XATTR_VARIANT,
  inoAt,
  numberAt,
  timeAt,
} from "./layout.ts";
import { GoneDirectory } from "./directories.ts";
import { isState } from "./inode-state.ts";
import { RecordReader } from "./record-file.ts";
import { joined } from "../tree/path.ts";
import type { RelinkThread } from "./relink-thread.ts";
import { RunSorter, type Run } from "./sorter.ts";
import { busy, changed, hashStable, lookOld, refuseOpenForWriting } from "./stable-content.ts";
import { xattrMark } from "./undo-log.ts";
import { setRefOfRead, variantRecordOf } from "./variant.ts";

const CTIME_WORDS = STATX_WORDS.slice(CTIME, CTIME + 3);
const ctime = new Uint32Array(3);
const OLD_MS = 3000;

/** Reads inodes that may have equals, in inode order, each once; what is known of one from an earlier run is believed. */
export class ContentReader {
  readonly #thread: RelinkThread;
  readonly #candidates: RecordReader;
  readonly #places: RecordReader;
  readonly #hashed: RunSorter;
  readonly #euid: number;

  constructor(thread: RelinkThread, placesFd: number, key: readonly number[]) {
    const { sys, files, worker } = thread;
    this.#thread = thread;
    this.#euid = sys.geteuid();
    this.#candidates = new RecordReader(sys, files.candidatesFd, INODE_WORDS);
    this.#places = new RecordReader(sys, placesFd, PLACE_WORDS, 4096);
    const layout = { words: INODE_WORDS, key };
    this.#hashed = new RunSorter(sys, files.sortFds[worker] as number, layout);
  }

  finish(): Run[] {
    return this.#hashed.finish();
  }

  /** @throws RunFailure, Stopped */
  run(task: { first: number; count: number; recordsRows: boolean }): void {
    for (let index = task.first; index < task.first + task.count; index++) {
      this.#thread.checkStop();
      const record = this.#hashed.next();
      record.set(this.#candidates.at(index));
      let isRead = false;
      try {
        isRead = this.#tryToRead(record, task);
      } finally {
        if (!isRead) this.#hashed.drop();
      }
    }
    this.#thread.flush();
  }

  /** @returns false: it cannot be read, which is recorded, or is not there any more */
  #tryToRead(record: Uint32Array, { recordsRows }: { recordsRows: boolean }): boolean {
    const place = this.#places.at(numberAt(record, NAMES_AT_HIGH));
    const [directory = 0] = place;
    const name = this.#thread.heap.read(place, 1);
    let isRead = false;
    this.#thread.attempt(
      () => joined(this.#thread.directories.pathOf(directory), name),
      () => {
        isRead = isThere(() => {
          const dirFd = this.#thread.directories.open(directory);
          this.#read(record, { dirFd, name, recordsRow: recordsRows });
        });
        if (isRead && recordsRows) this.#recordRow(record);
      },
    );
    return isRead;
  }

  #read(
    record: Uint32Array,
    { dirFd, name, recordsRow }: { dirFd: number; name: Buffer; recordsRow: boolean },
  ): void {
    const { sys, scratch, stat, session, rules, tally } = this.#thread;
    const isNamed = isLasting(rules.identity);
    const hasRows = isNamed && (session?.hadRows ?? false);
    record[GENERATION] = hasRows || recordsRow ? this.#generationOf(dirFd, name) : 0;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, scratch.at(name), flags), "openat");
    try {
      if (!hasRows && this.#readSettled(fd, record)) return;
      const before = lookOld(this.#thread, fd);
      if (!isStocked(stat, record)) throw changed();
      refuseOpenForWriting(this.#thread, fd);
      stat.copyWords(STATX_WORDS, record, 0);
      const known = hasRows ? this.#known(record) : undefined;
      const digest = known ?? hashStable(this.#thread, fd, before);
      putDigest(record, digest);
      record[UNLINKABLE] = this.#isLinkable(stat) ? 0 : 1;
      this.#addXattrs(record, fd);
      if (known === undefined) tally.readInodes++;
      else record[UNREAD] = 1;
    } finally {
      sys.close(fd);
    }
  }

  /**
   * The usual case with the fewest calls: a small file that was old when the stock was taken, and is now, after it was
   * read, as it was then. The lease lasts until the file is closed. @returns false: nothing is known yet
   */
  #readSettled(fd: number, record: Uint32Array): boolean {
    const { sys, content, stat, scratch, tally, rules } = this.#thread;
    const sizeBytes = numberAt(record, SIZE_HIGH);
    // Who opens the file to write waits for the lease: not for as long as a limited reading sleeps.
    if (sizeBytes > SMALL_BYTES || rules.bwlimitBytes !== undefined || !isOld(record)) return false;
    if (sys.setLease(fd, F_RDLCK) === -errno.EAGAIN) throw busy();
    const bytes = fromSource(() => content.readSmall(fd, sizeBytes));
    const statted = sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address);
    if (bytes === undefined || statted < 0 || !isState(stat, record) || !hasCtime(stat, record)) return false;
    putDigest(record, blake3(bytes));
    record[UNLINKABLE] = this.#isLinkable(stat) ? 0 : 1;
    this.#addXattrs(record, fd);
    tally.readInodes++;
    return true;
  }

  /** Another user's file has to be left as it is where the kernel protects hard links (fs.protected_hardlinks). */
  #isLinkable({ isImmutable, uid }: Stat): boolean {
    return !isImmutable && (this.#euid === 0 || this.#euid === uid);
  }

  #generationOf(dirFd: number, name: Buffer): number {
    const { generations, scratch } = this.#thread;
    return generations.of(dirFd, scratch.at(name));
  }

  /** The digest that an earlier run found, if generation, size and mtime are the same still. */
  #known(record: Uint32Array): Buffer | undefined {
    const row = this.#thread.session?.known(this.#thread.rules.identity, inoAt(record));
    if (row === undefined || row.source.generation !== record[GENERATION]) return undefined;
    const isSame =
      row.source.sizeBytes === numberAt(record, SIZE_HIGH) && row.source.mtimeNs === timeAt(record, MTIME);
    return isSame ? Buffer.from(row.ref.subarray(0, 32)) : undefined;
  }

  #addXattrs(record: Uint32Array, fd: number): void {
    const { rules, xattrs } = this.#thread;
    record.fill(0, XATTR_VARIANT, XATTR_MARK + 2);
    if (!rules.compared.xattrs) return;
    const found: readonly Xattr[] = fromSource(() => xattrs.read({ fd }));
    if (found.length === 0) return;
    const variant = variantOf(variantRecordOf(record, rules.compared, found));
    record[XATTR_VARIANT] = variant.readUInt32LE(0);
    record[XATTR_VARIANT + 1] = variant.readUInt32LE(4);
    record.set(xattrMark(found), XATTR_MARK);
  }

  /** So that a run that is stopped need not read the inode again: long runs only, as a row costs more than a small file. */
  #recordRow(record: Uint32Array): void {
    const { session, rules, ref } = this.#thread;
    if (session === undefined || !isLasting(rules.identity)) return;
    setRefOfRead(ref, record, rules);
    ref.sibling = NO_OBJECT;
    const source = sourceStateOf(record);
    session.record({ identity: rules.identity, source, target: source, ref: ref.bytes });
  }
}

export function sourceStateOf(record: Uint32Array): SourceState {
  return {
    ino: inoAt(record),
    generation: record[GENERATION] as number,
    sizeBytes: numberAt(record, SIZE_HIGH),
    mtimeNs: timeAt(record, MTIME),
    ctimeNs: timeAt(record, CTIME),
  };
}

/** Whether the open inode is the one that the stock has, as it was. */
function isStocked(stat: Stat, record: Uint32Array): boolean {
  return (
    stat.isRegular &&
    stat.ino === inoAt(record) &&
    stat.sizeBytes === numberAt(record, SIZE_HIGH) &&
    stat.mtimeNs === timeAt(record, MTIME)
  );
}

/** Older than any clock's tick: what is written from now on leaves a trace in the times. */
function isOld(record: Uint32Array): boolean {
  const now = Date.now();
  return [MTIME, CTIME].every((at) => now - numberAt(record, at) * 1000 > OLD_MS);
}

function hasCtime(stat: Stat, record: Uint32Array): boolean {
  stat.copyWords(CTIME_WORDS, ctime, 0);
  return ctime[0] === record[CTIME] && ctime[1] === record[CTIME + 1] && ctime[2] === record[CTIME + 2];
}

function putDigest(record: Uint32Array, digest: Buffer): void {
  for (let index = 0; index < DIGEST_WORDS; index++) record[DIGEST + index] = digest.readUInt32LE(index * 4);
}

/** @returns false: the name, or a directory above it, went away since the stock was taken, as snapshots do */
function isThere(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof GoneDirectory) return false;
    if (error instanceof EntryFailure && ["ENOENT", "ENOTDIR"].includes(error.code)) return false;
    throw error;
  }
}
