import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isGone, openBelow, parentAndName } from "../tree/path.ts";
import { Ref, blake3 } from "../../store/store.ts";
import { XattrCalls, sameXattrs } from "../tree/attributes.ts";
import { ATTRIBUTES } from "./discards.ts";
import { GrowingBytes } from "./growing-bytes.ts";
import { isInode } from "./inode-state.ts";
import {
  GID,
  INODE_WORDS,
  INO_HIGH,
  INO_LOW,
  MODE,
  MTIME,
  SIZE_HIGH,
  SIZE_LOW,
  STATX_WORDS,
  UID,
  putNumber,
  numberAt,
  sameWords,
} from "./layout.ts";
import { mergeRuns, RunSorter } from "./sorter.ts";
import { UndoReader, undoFiles, type Discarded } from "./undo-log.ts";

/** A record of the log as the plan sorts it: by path and age. */
const PATH = 0;
const SERIAL = 4;
const VICTIM = 5;
const TARGET = 7;
/** Stands for the attributes that the name had. */
const WANTED = 9;
/** Where the record lies: file, offset (two words), length with its form as the lowest bit. */
const AT = 11;
const LINE_WORDS = 15;
/** A name that leads to `TARGET` if nobody else changed it: its newest record, and the one whose attributes it gets. */
const NAME_TARGET = 0;
const NAME_WANTED = 2;
const NEWEST = 4;
const OLDEST = 8;
const NAME_WORDS = 12;

const SLASH = 0x2f;

const byPath = { words: LINE_WORDS, key: [PATH, PATH + 1, PATH + 2, PATH + 3, SERIAL] };
const byTarget = { words: NAME_WORDS, key: [0, 1, 2, 3, 4, 5, 6] };

/** A name and what it is to have again. `newest` says which inode it must lead to, `wanted` what it had. */
export type Restorable = { newest: Discarded; wanted: Discarded };
/** Names of one inode that are to have the same attributes: all of them, or as many as are taken at once. */
export type RestoreGroup = { names: Restorable[]; isWhole: boolean; isFirst: boolean };

/** Names of a group that are in memory at once. */
const GROUP_NAMES = 16_384;

export type UndoPlanParts = {
  kernel: Kernel;
  rootFd: number;
  logFd: number;
  /** -1 for none. */
  objectsFd: number;
  sortFds: readonly [number, number];
  /** Directories that walks begin with, snapshots above all. */
  tops: readonly Buffer[];
};

/** The log of discarded attributes -> what is to be restored, by the inodes that the names lead to now. */
export class UndoPlan {
  readonly #parts: UndoPlanParts;
  readonly #readers: UndoReader[];
  readonly #stat: Stat;
  readonly #ref: Ref;
  readonly #xattrs: XattrCalls;
  /** Where the directories of an inode lie now. */
  readonly #topPaths = new Map<string, Buffer>();
  /** Names in the log, each counted once. */
  loggedNames = 0;
  /** Those that lead elsewhere by now, or are gone. */
  otherNames = 0;

  /** @throws SysError */
  constructor(parts: UndoPlanParts) {
    const { kernel, logFd } = parts;
    this.#parts = parts;
    this.#stat = new Stat(kernel.sys);
    this.#ref = new Ref(kernel.sys);
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
    this.#readers = undoFiles(kernel, logFd).map((file) => new UndoReader(kernel, logFd, file));
    for (const path of parts.tops) {
      const ino = this.#inoOf(path);
      if (ino !== undefined) this.#topPaths.set(ino, path);
    }
  }

  #inoOf(path: Buffer): string | undefined {
    const { kernel, rootFd } = this.#parts;
    const fd = openBelow(kernel, rootFd, path);
    if (fd < 0) return undefined;
    const { inoHigh, inoLow } = statDescriptor(kernel, fd, this.#stat);
    kernel.sys.close(fd);
    return keyOf({ inoHigh, inoLow });
  }

  /** Groups that share an inode come one after another. @throws SysError */
  *groups(): Generator<RestoreGroup> {
    const { sys } = this.#parts.kernel;
    const names = new RunSorter(sys, this.#parts.sortFds[1], byTarget);
    const lines = this.#lines();
    let held: Uint32Array[] = [];
    for (const line of mergeRuns(sys, lines, byPath)) {
      if (held[0] !== undefined && !sameWords(held[0], line, [0, 1, 2, 3])) {
        this.#resolve(held, names);
        held = [];
      }
      held.push(line.slice());
    }
    if (held.length > 0) this.#resolve(held, names);
    yield* this.#grouped(mergeRuns(sys, names.finish(), byTarget));
  }

  #lines() {
    const lines = new RunSorter(this.#parts.kernel.sys, this.#parts.sortFds[0], byPath);
    for (const [file, reader] of this.#readers.entries())
      for (const { record, offset, length, isOld } of reader.records()) {
        const line = lines.next();
        const place = [record.path, Buffer.from(record.top === undefined ? "" : `/${keyOf(record.top)}`)];
        line.set(wordsOf(blake3(Buffer.concat(place)), 4), PATH);
        line[SERIAL] = file;
        line.set(record.victim.subarray(INO_HIGH, INO_LOW + 1), VICTIM);
        line.set(record.target.subarray(INO_HIGH, INO_LOW + 1), TARGET);
        line.set(wordsOf(blake3(wantedBytes(record)), 2), WANTED);
        line[AT] = file;
        putNumber(line, AT + 1, offset);
        line[AT + 3] = length * 2 + (isOld ? 1 : 0);
      }
    return lines.finish();
  }

  /** A name that was replaced twice gets what it had at first, as far back as one record leads to the next. */
  #resolve(lines: readonly Uint32Array[], names: RunSorter): void {
    this.loggedNames++;
    const newest = lines.at(-1) as Uint32Array;
    let oldest = newest;
    for (const line of lines.slice(0, -1).reverse())
      if (line[TARGET] === oldest[VICTIM] && line[TARGET + 1] === oldest[VICTIM + 1]) oldest = line;
    const name = names.next();
    name.set(newest.subarray(TARGET, TARGET + 2), NAME_TARGET);
    name.set(oldest.subarray(WANTED, WANTED + 2), NAME_WANTED);
    name.set(newest.subarray(AT, AT + 4), NEWEST);
    name.set(oldest.subarray(AT, AT + 4), OLDEST);
  }

  *#grouped(names: Iterable<Uint32Array>): Generator<RestoreGroup> {
    let last: Uint32Array | undefined;
    let group: RestoreGroup = { names: [], isWhole: true, isFirst: true };
    for (const name of names) {
      const isSame = last !== undefined && sameWords(last, name, [0, 1, 2, 3]);
      if (!isSame || group.names.length >= GROUP_NAMES) {
        if (isSame) group.isWhole = false;
        if (group.names.length > 0) yield group;
        group = { names: [], isWhole: !isSame, isFirst: !isSame };
      }
      last = name.slice();
      const restorable = { newest: this.#record(name, NEWEST), wanted: this.#record(name, OLDEST) };
      const found = this.#leadsTo(restorable);
      if (found === "target") group.names.push(restorable);
      else if (found === "other") this.otherNames++;
    }
    if (group.names.length > 0) yield group;
  }

  #record(name: Uint32Array, at: number): Discarded {
    const reader = this.#readers[name[at] as number] as UndoReader;
    const length = name[at + 3] as number;
    const record = reader.at(numberAt(name, at + 1), length >>> 1, (length & 1) === 1);
    return { ...record, path: this.#pathNow(record) };
  }

  /** A snapshot may have another name by now, and its old name be another one's. */
  #pathNow({ path, top }: Discarded): Buffer {
    const now = top === undefined ? undefined : this.#topPaths.get(keyOf(top));
    if (top === undefined || now === undefined) return path;
    const rest = path.subarray(top.length);
    return now.length === 0 && rest[0] === SLASH ? rest.subarray(1) : Buffer.concat([now, rest]);
  }

  /** Who has the snapshot's name now is not it. */
  #isElsewhere({ path, top }: Discarded): boolean {
    if (top === undefined || this.#topPaths.has(keyOf(top))) return false;
    return this.#inoOf(path.subarray(0, top.length)) !== keyOf(top);
  }

  /** "restored": an undo that was cut short came to it. */
  #leadsTo({ newest, wanted }: Restorable): "target" | "restored" | "other" {
    if (this.#isElsewhere(newest)) return "other";
    const { kernel, rootFd } = this.#parts;
    const { sys, scratch } = kernel;
    const { parent, name } = parentAndName(newest.path);
    const dirFd = openBelow(kernel, rootFd, parent);
    // What cannot be looked at fails when its turn comes, which keeps the log.
    if (dirFd < 0) return isGone(dirFd) ? "other" : "target";
    try {
      const found = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
      if (found < 0) return isGone(found) ? "other" : "target";
      if (isInode(this.#stat, newest.target)) return "target";
      return this.#isRestored(dirFd, name, { newest, wanted }) ? "restored" : "other";
    } finally {
      sys.close(dirFd);
    }
  }

  /** Of the inode that was looked at last: it has what the name is to get, and the store knows it by the logged content. */
  #isRestored(dirFd: number, name: Buffer, { newest, wanted }: Restorable): boolean {
    const { kernel } = this.#parts;
    const { sys, scratch } = kernel;
    const record = new Uint32Array(INODE_WORDS);
    this.#stat.copyWords(STATX_WORDS, record, 0);
    if (!sameWords(record, wanted.victim, [SIZE_HIGH, SIZE_LOW, ...ATTRIBUTES])) return false;
    if (!this.#isSibling(newest, this.#stat.ino)) return false;
    if (wanted.xattrs === undefined) return true;
    const fd = openQuietly(sys, dirFd, scratch.at(name), O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW);
    if (fd < 0) return false;
    try {
      return sameXattrs(this.#xattrs.read({ fd }), wanted.xattrs);
    } finally {
      sys.close(fd);
    }
  }

  #isSibling({ ref }: Discarded, ino: bigint): boolean {
    const { kernel, objectsFd } = this.#parts;
    if (objectsFd < 0) return false;
    const { address } = this.#stat;
    this.#ref.setBytes(ref);
    for (this.#ref.sibling = 0; ; this.#ref.sibling++) {
      if (kernel.sys.statx(objectsFd, this.#ref.format(), AT_SYMLINK_NOFOLLOW, address) < 0) return false;
      if (this.#stat.ino === ino) return true;
    }
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }
}

function keyOf({ inoHigh, inoLow }: { inoHigh: number; inoLow: number }): string {
  return `${String(inoHigh)}:${String(inoLow)}`;
}

/** What tells whether two names can share an inode again. */
function wantedBytes({ victim, xattrs }: Discarded): Buffer {
  const out = new GrowingBytes();
  out.words(...[MTIME, MTIME + 1, MTIME + 2, MODE, UID, GID].map((word) => victim[word] as number));
  out.words(xattrs === undefined ? 0 : 1);
  for (const { name, value } of xattrs ?? []) {
    out.bytes(name);
    out.bytes(value);
  }
  return Buffer.from(out.whole);
}

function wordsOf(bytes: Buffer, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => bytes.readUInt32LE(index * 4));
}
