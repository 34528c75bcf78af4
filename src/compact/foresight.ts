import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { CompactStep } from "../report/events.ts";
import { REF_WORDS, Ref, type IndexRow } from "../../store/store.ts";
import { InodeSet } from "../verify/inode-set.ts";
import type { KnownObject } from "../relink/batch-planner.ts";
import { NO_DIRECTORY, TARGET_ROW, type BatchView } from "../relink/batch-memory.ts";
import * as layout from "../relink/layout.ts";
import { RecordReader } from "../relink/record-file.ts";
import { ARRIVAL, Arrivals, compareRefs } from "./arrivals.ts";
import {
  ATTENTION_WORDS,
  BLOCKS_HIGH,
  BLOCK_BYTES,
  DECISION_WORDS,
  EMPTIED,
  FILLED,
  INO_HIGH,
  INO_LOW,
  KIND,
  NLINK,
  REF,
  TO,
} from "./attention.ts";
import type { Stretch, Unnamed } from "./record-lists.ts";
import { WaitingInodes, type CompactState } from "./state.ts";
import type { SweptInode } from "./swept-inodes.ts";

type Parts = {
  kernel: Kernel;
  objectsFd: number;
  stockFd: number;
  rules: { identity: Uint8Array };
  steps: ReadonlySet<CompactStep>;
  state: CompactState;
};

/**
 * In a dry run: what the names of the store would be by the time that each step comes to them, told in the order of
 * the run's steps, and what follows for its figures.
 */
export class Foresight {
  /** How many names of the store an inode of `again` would have lost. */
  readonly lostNames = 1;
  readonly pruned: Unnamed = { objects: 0, holders: 0, bytes: 0 };
  /** Decisions that would not be carried out: the name is the inode's last, and that is prune's. */
  kept = 0;
  readonly #parts: Parts;
  readonly #prunes: boolean;
  readonly #arrivals: Arrivals;
  readonly #stat: Stat;
  readonly #ref: Ref;
  /** They would have lost the name that they have now. */
  readonly #leaving = new InodeSet();
  /** They would have got one. */
  readonly #arrived = new InodeSet();
  /** They would be no more. */
  readonly #gone = new InodeSet();
  /** Objects that new names would lead to. */
  readonly #used = new InodeSet();
  /** Inodes that would have lost their name in the store to an equal. */
  readonly again = new WaitingInodes();

  /** @throws SysError */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.#prunes = parts.steps.has("prune");
    this.#arrivals = new Arrivals(parts.kernel, parts.stockFd);
    this.#stat = new Stat(parts.kernel.sys);
    this.#ref = new Ref(parts.kernel.sys);
  }

  isLeaving(inoLow: number, inoHigh: number): boolean {
    return this.#leaving.has(inoLow, inoHigh);
  }

  arrivalAt(ref: Ref): KnownObject | undefined {
    const arrival = this.#arrivals.at(ref);
    return arrival === undefined || this.#gone.has(arrival.inoLow, arrival.inoHigh) ? undefined : arrival;
  }

  /** As the Mover does. @throws RunFailure, SysError */
  refile({ recordsFd, first, count }: Stretch): void {
    const records = new RecordReader(this.#parts.kernel.sys, recordsFd, DECISION_WORDS);
    for (let index = first; index < first + count; index++) {
      const decision = records.at(index);
      const isNameless = decision[KIND] === EMPTIED || decision[KIND] === FILLED;
      if (isNameless && decision[NLINK] === 1 && !this.#prunes) {
        this.kept++;
        continue;
      }
      this.#leaving.add(decision[INO_LOW] as number, decision[INO_HIGH] as number);
      if (!isNameless) this.#expect(decision, index);
    }
    this.#settle();
  }

  #expect(decision: Uint32Array, turn: number): void {
    const arrival = this.#arrivals.next();
    arrival.set(decision.subarray(TO, TO + REF_WORDS), ARRIVAL.ref);
    arrival[ARRIVAL.turn] = turn;
    arrival[ARRIVAL.inoHigh] = decision[INO_HIGH] as number;
    arrival[ARRIVAL.inoLow] = decision[INO_LOW] as number;
    arrival[ARRIVAL.nlink] = decision[NLINK] as number;
    // Decisions are carried out in the order of names.
    arrival[ARRIVAL.isEarly] = compareRefs(arrival, decision, REF) > 0 ? 1 : 0;
  }

  #settle(): void {
    this.#arrivals.settle({
      isTaken: (arrival) => this.#isTaken(arrival),
      arrived: (arrival) => {
        this.#arrived.add(arrival[ARRIVAL.inoLow] as number, arrival[ARRIVAL.inoHigh] as number);
      },
      late: (arrival) => {
        if (arrival[ARRIVAL.nlink] === 1 && !this.#prunes) this.kept++;
        else this.again.add(arrival[ARRIVAL.inoLow] as number, arrival[ARRIVAL.inoHigh] as number);
      },
    });
  }

  /** Whether another inode would still have the name, or have it by then. */
  #isTaken(arrival: Uint32Array): boolean {
    const { kernel, objectsFd } = this.#parts;
    const ref = this.#ref.copyFrom(arrival, ARRIVAL.ref);
    if (this.arrivalAt(ref) !== undefined) return true;
    const { address } = this.#stat;
    if (kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, address) < 0) return false;
    const { inoLow, inoHigh } = this.#stat;
    if (inoLow === arrival[ARRIVAL.inoLow] && inoHigh === arrival[ARRIVAL.inoHigh]) return false;
    return arrival[ARRIVAL.isEarly] === 1 || !this.isLeaving(inoLow, inoHigh);
  }

  /** What names would be led to, and what would get a name in the store. */
  took(batch: BatchView): void {
    for (let index = 0; index < batch.targetCount; index++) {
      const target = batch.target(index);
      const [inoHigh = 0, inoLow = 0] = target.subarray(TARGET_ROW.inode + layout.INO_HIGH);
      if (target[TARGET_ROW.directory] === NO_DIRECTORY) {
        this.#used.add(inoLow, inoHigh);
        continue;
      }
      const arrival = this.#arrivals.next();
      arrival.set(target.subarray(TARGET_ROW.ref, TARGET_ROW.ref + REF_WORDS), ARRIVAL.ref);
      arrival[ARRIVAL.inoHigh] = inoHigh;
      arrival[ARRIVAL.inoLow] = inoLow;
      arrival[ARRIVAL.nlink] = (target[TARGET_ROW.inode + layout.NLINK] as number) + 1;
    }
  }

  /** All batches were told of. @throws RunFailure, SysError */
  adopted(): void {
    this.#arrivals.settle({
      isTaken: () => false,
      arrived: (arrival) => {
        this.#arrived.add(arrival[ARRIVAL.inoLow] as number, arrival[ARRIVAL.inoHigh] as number);
      },
      late: () => undefined,
    });
  }

  /** Objects and holders without another name. @throws SysError */
  prune({ recordsFd, first, count }: Stretch): void {
    const records = new RecordReader(this.#parts.kernel.sys, recordsFd, ATTENTION_WORDS);
    for (let index = first; index < first + count; index++) {
      const record = records.at(index);
      this.#prune({
        ...{ inoLow: record[INO_LOW] as number, inoHigh: record[INO_HIGH] as number },
        isObject: this.#ref.copyFrom(record, REF).kind === "object",
        bytes: layout.numberAt(record, BLOCKS_HIGH) * BLOCK_BYTES,
      });
    }
  }

  /** Those whose other names would all have been swept. */
  pruneSwept(swept: Iterable<SweptInode>): void {
    if (!this.#prunes) return;
    const { known, holders } = this.#parts.state;
    for (const inode of swept) {
      const { inoLow, inoHigh, names, links } = inode;
      if (names === links - 1 && known.has(inoLow, inoHigh))
        this.#prune({ ...inode, isObject: !holders.has(inoLow, inoHigh) });
    }
  }

  #prune({
    inoLow,
    inoHigh,
    isObject,
    bytes,
  }: Omit<SweptInode, "names" | "links"> & { isObject: boolean }): void {
    if (this.#used.has(inoLow, inoHigh) || !this.#gone.add(inoLow, inoHigh)) return;
    this.#leaving.add(inoLow, inoHigh);
    if (isObject) this.pruned.objects++;
    else this.pruned.holders++;
    this.pruned.bytes += bytes;
  }

  /** Siblings that would give way to another one. */
  fold(siblings: readonly { inoLow: number; inoHigh: number }[]): void {
    for (const { inoLow, inoHigh } of siblings) {
      this.#leaving.add(inoLow, inoHigh);
      this.again.add(inoLow, inoHigh);
    }
  }

  /** Records of what would still be there under its name. @throws SysError */
  *remaining({ recordsFd, first, count }: Stretch): Generator<Stretch> {
    const records = new RecordReader(this.#parts.kernel.sys, recordsFd, ATTENTION_WORDS);
    let from = first;
    for (let index = first; index <= first + count; index++) {
      const record = index < first + count ? records.at(index) : undefined;
      if (record !== undefined && !this.isLeaving(record[INO_LOW] as number, record[INO_HIGH] as number))
        continue;
      if (index > from) yield { recordsFd, first: from, count: index - from };
      from = index + 1;
    }
  }

  /** Whether the run would leave the index with the row; undefined: it would do nothing that matters to it. */
  keepsRow(row: IndexRow): boolean | undefined {
    if (row.type === "size" || row.type === "unknown") return undefined;
    return row.type === "object" ? this.#keepsObject(row.ref) : this.#keepsSource(row);
  }

  /** By who would have the name, whoever has the row now. */
  #keepsObject(bytes: Buffer): boolean | undefined {
    const { kernel, objectsFd, state } = this.#parts;
    const ref = this.#ref.setBytes(bytes);
    if (this.arrivalAt(ref) !== undefined) return true;
    const { address } = this.#stat;
    if (kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, address) < 0) return false;
    const { inoLow, inoHigh } = this.#stat;
    if (this.isLeaving(inoLow, inoHigh)) return false;
    const written = [state.learned, state.doubted, this.#used];
    return written.some((inodes) => inodes.has(inoLow, inoHigh)) ? true : undefined;
  }

  /** An inode of the store itself takes the row with it to its next name. */
  #keepsSource({ ino, identity, target }: IndexRow & { type: "source" }): boolean | undefined {
    const [inoLow, inoHigh] = [Number(target.ino & 0xffffffffn), Number(target.ino >> 32n)];
    const isOwn = ino === target.ino && identity.equals(this.#parts.rules.identity);
    const { learned } = this.#parts.state;
    if (this.#gone.has(inoLow, inoHigh)) return false;
    if (isOwn && (this.#arrived.has(inoLow, inoHigh) || learned.has(inoLow, inoHigh))) return true;
    return this.isLeaving(inoLow, inoHigh) ? false : undefined;
  }

  close(): void {
    this.#arrivals.close();
  }
}
