import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { STORE_NAME } from "../../store/store.ts";
import { Listing } from "../tree/listing.ts";
import { TimesBuffer } from "../tree/times.ts";
import { EntryFailure, fromSource, onTarget } from "../work/errors.ts";
import { immutableText } from "../work/immutable.ts";
import type { BatchView } from "./batch-memory.ts";
import { DIRECTORY_ROW, DONE, FAILED, NAME_ROW, TARGET_ROW, UNCHANGED, VICTIM_ROW } from "./batch-memory.ts";
import { DiscardKeeper } from "./discards.ts";
import { temporaryName } from "./temporary-name.ts";
import { byName, fingerprint, hashName, type MayBe, type Print } from "./fingerprint.ts";
import { INO_HIGH, INO_LOW, timeAt } from "./layout.ts";
import { isOwnTime } from "./own-time.ts";
import type { BatchStore } from "./messages.ts";
import { joined } from "../tree/path.ts";
import type { RelinkThread } from "./relink-thread.ts";
import { Replacer } from "./replace.ts";
import { refuseOthers } from "./stable-content.ts";
import { xattrMark } from "./undo-log.ts";
import { hasXattrsOf } from "./variant.ts";

const STATX_MTIME = [29, 28, 30] as const;

/**
 * Directories of a batch. `undo`: the number under which discarded attributes are kept; undefined: none are. `log`: the
 * tag of its log, once it is written.
 */
export type BatchRange = { first: number; count: number; undo: number | undefined; log: string };

type NameOfBatch = {
  name: Uint32Array;
  text: Buffer;
  target: Uint32Array;
  isKept: boolean;
  tmp: Buffer;
};

/** Pass 2: takes directories of a batch down, then replaces the names in them. */
export class BatchWorker {
  readonly #thread: RelinkThread;
  readonly #listing: Listing;
  readonly #replacer: Replacer;
  readonly #times: TimesBuffer;
  readonly #objectsFd: number;
  readonly #byHash = new Map<number, number>();
  readonly #keeper: DiscardKeeper;

  constructor(thread: RelinkThread, store: BatchStore) {
    this.#thread = thread;
    this.#listing = new Listing(thread.sys);
    this.#replacer = new Replacer(thread, store.tmpFd, temporaryName(thread.worker, "", 0), {
      isNumbered: true,
    });
    this.#times = new TimesBuffer(thread.sys);
    this.#objectsFd = store.objectsFd;
    this.#keeper = new DiscardKeeper(thread, store.logFd);
  }

  /**
   * Before anything is changed: each directory's own inode, its time and its listing, and what its names are to lose.
   * @throws RunFailure
   */
  prepare(batch: BatchView, { first, count, undo }: BatchRange): void {
    for (let index = first; index < first + count; index++) {
      const row = batch.directory(index);
      const isPrepared = this.#attempt(row, () => {
        const { sys, stat } = this.#thread;
        const fd = this.#statDirectory(row);
        refuseOthers(sys.geteuid(), stat.uid);
        row[DIRECTORY_ROW.inoHigh] = stat.inoHigh;
        row[DIRECTORY_ROW.inoLow] = stat.inoLow;
        stat.copyWords(STATX_MTIME, row, DIRECTORY_ROW.mtime);
        const print = this.#print(batch, row, fd);
        row[DIRECTORY_ROW.print] = print?.high ?? 0;
        row[DIRECTORY_ROW.print + 1] = print?.low ?? 0;
      });
      row[DIRECTORY_ROW.state] = isPrepared ? DONE : FAILED;
      if (isPrepared && undo !== undefined) this.#keeper.keep(batch, row, undo);
    }
    this.#keeper.flush();
    this.#thread.flush();
  }

  #attempt(row: Uint32Array, work: () => void): boolean {
    return this.#thread.attempt(() => this.#thread.directories.pathOf(row[DIRECTORY_ROW.id] as number), work);
  }

  /** By hashes of names; where two have the same, or nothing fits, by the names themselves. */
  #print(batch: BatchView, row: Uint32Array, fd: number): Print | undefined {
    const first = row[DIRECTORY_ROW.firstName] as number;
    const count = row[DIRECTORY_ROW.nameCount] as number;
    const byHash = this.#byHash;
    byHash.clear();
    for (let index = first; index < first + count; index++)
      byHash.set(hashName(batch.bytesOf(batch.name(index), NAME_ROW.text)), index);
    if (byHash.size === count) {
      const print = fingerprint(this.#thread, this.#listing, fd, (listing) => {
        const index = byHash.get(listing.nameHash);
        if (index === undefined) return "other";
        return batch.mayLeadTo(index, listing.inoHigh, listing.inoLow) ? "replaced" : "foreign";
      });
      if (print !== undefined) return print;
    }
    return this.#printByName(batch, row, fd);
  }

  #printByName(batch: BatchView, row: Uint32Array, fd: number): Print | undefined {
    const replaced = new Map<string, MayBe>();
    this.#eachName(batch, row, (name, text) => {
      const victim = batch.victim(name[NAME_ROW.victim] as number);
      const target = batch.target(name[NAME_ROW.target] as number).subarray(TARGET_ROW.inode);
      const mayBe = [victim, target].map(
        (inode) => [inode[INO_HIGH] as number, inode[INO_LOW] as number] as const,
      );
      replaced.set(text.toString("latin1"), mayBe);
    });
    return fingerprint(this.#thread, this.#listing, fd, byName(replaced));
  }

  #eachName(
    batch: BatchView,
    row: Uint32Array,
    work: (name: Uint32Array, text: Buffer, at: number) => void,
  ): void {
    const first = row[DIRECTORY_ROW.firstName] as number;
    const count = row[DIRECTORY_ROW.nameCount] as number;
    for (let index = first; index < first + count; index++) {
      const name = batch.name(index);
      work(name, batch.textOf(name, NAME_ROW.text), index - first);
    }
  }

  /** The names of a directory, then its time. A stop comes between two directories. @throws RunFailure, Stopped */
  replace(batch: BatchView, { first, count, undo, log }: BatchRange): void {
    for (let index = first; index < first + count; index++) {
      this.#thread.checkStop();
      const row = batch.directory(index);
      if (row[DIRECTORY_ROW.state] === DONE) this.#replaceIn(batch, row, { isKept: undo !== undefined, log });
      this.#thread.flush();
    }
  }

  #replaceIn(batch: BatchView, row: Uint32Array, { isKept, log }: { isKept: boolean; log: string }): void {
    const touched = { isSo: false, sinceNs: 0n };
    const logged = row[DIRECTORY_ROW.logged] as number;
    this.#eachName(batch, row, (name, text, at) => {
      const target = batch.target(name[NAME_ROW.target] as number);
      const isReady = name[NAME_ROW.state] !== FAILED && target[TARGET_ROW.state] === DONE;
      name[NAME_ROW.state] = FAILED;
      if (!isReady) return;
      this.#thread.attempt(
        () => joined(this.#thread.directories.pathOf(row[DIRECTORY_ROW.id] as number), text),
        () => {
          if (!touched.isSo) touched.sinceNs = this.#lookBefore(row);
          touched.isSo = true;
          const tmp = temporaryName(this.#thread.worker, log, logged + at);
          name[NAME_ROW.state] = this.#replaceName(batch, row, { name, text, target, isKept, tmp });
        },
      );
    });
    if (!touched.isSo) return;
    this.#attempt(row, () => {
      this.#putTimeBack(batch, row, touched.sinceNs);
    });
  }

  /** Before the first exchange: a time that someone set since it was taken down is the one to put back. @returns the ctime */
  #lookBefore(row: Uint32Array): bigint {
    const { stat } = this.#thread;
    this.#statDirectory(row);
    stat.copyWords(STATX_MTIME, row, DIRECTORY_ROW.mtime);
    return stat.ctimeNs;
  }

  /** @returns its descriptor */
  #statDirectory(row: Uint32Array): number {
    const { sys, scratch, stat, directories } = this.#thread;
    const fd = directories.open(row[DIRECTORY_ROW.id] as number);
    onTarget(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address), "statx");
    return fd;
  }

  #replaceName(batch: BatchView, row: Uint32Array, { name, text, target, isKept, tmp }: NameOfBatch): number {
    const { directories, ref, tally } = this.#thread;
    const dirFd = directories.open(row[DIRECTORY_ROW.id] as number);
    ref.copyFrom(target, TARGET_ROW.ref);
    const victim = batch.victim(name[NAME_ROW.victim] as number).subarray(VICTIM_ROW.state);
    const hasXattrs = (fd: number): boolean =>
      isKept ? this.#hasMark(fd, name, target) : hasXattrsOf(this.#thread, target, fd);
    const from = { dirFd: this.#objectsFd, name: ref.format(), state: target.subarray(TARGET_ROW.inode) };
    try {
      const done = this.#replacer.replace({ dirFd, name: text, victim, hasXattrs, tmp }, from);
      if (done === "unchanged") return UNCHANGED;
    } catch (error) {
      throw this.#explained(error, dirFd, text);
    }
    tally.replacedNames++;
    return DONE;
  }

  /** Of EPERM, which even root meets at an immutable inode, says what to do. */
  #explained(error: unknown, dirFd: number, name: Buffer): unknown {
    if (!(error instanceof EntryFailure) || error.code !== "EPERM") return error;
    const { sys, stat, ref } = this.#thread;
    const found = sys.statx(this.#objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, stat.address);
    const message =
      found === 0 && stat.isImmutable
        ? `the inode that it is to share is immutable or append-only: chattr -ia ${STORE_NAME}/objects/${ref.text}, and run again`
        : immutableText(this.#thread, dirFd, name);
    return message === undefined ? error : new EntryFailure("EPERM", message);
  }

  /** Where xattrs are ignored: those that were written down. */
  #hasMark(fd: number, name: Uint32Array, target: Uint32Array): boolean {
    const { rules, xattrs } = this.#thread;
    if (rules.compared.xattrs) return hasXattrsOf(this.#thread, target, fd);
    const mark = xattrMark(fromSource(() => xattrs.read({ fd })));
    return mark.every((word, at) => word === name[NAME_ROW.xattrs + at]);
  }

  /** Not where someone else changed the time or the listing meanwhile: then the time is theirs. */
  #putTimeBack(batch: BatchView, row: Uint32Array, sinceNs: bigint): void {
    const { sys, stat } = this.#thread;
    const fd = this.#statDirectory(row);
    const { mtimeNs } = stat;
    if (mtimeNs === timeAt(row, DIRECTORY_ROW.mtime) || !isOwnTime(stat, sinceNs)) return;
    const print = this.#print(batch, row, fd);
    if (print?.high !== row[DIRECTORY_ROW.print] || print?.low !== row[DIRECTORY_ROW.print + 1]) return;
    this.#statDirectory(row);
    if (stat.mtimeNs !== mtimeNs) return;
    const result = sys.futimens(fd, this.#times.withMtime(timeAt(row, DIRECTORY_ROW.mtime)));
    if (result === -errno.EPERM)
      throw new EntryFailure("EPERM", "its modification time could not be put back: it is another user's");
    onTarget(result, "utimensat");
  }
}
