import type { Ledger } from "../../store/store.ts";
import { type InodeKey, type Ref, type TargetInode } from "../../store/store.ts";

/** Of a source row: reference 52, links 4, snapshot 4, names in it 4, most in one 4, target inode 8, size 8. */
const LINKS = 52;
const SNAPSHOT = 56;
const IN_SNAPSHOT = 60;
const MOST_IN_SNAPSHOT = 64;
const INO_LOW = 68;
const INO_HIGH = 72;
const SIZE = 76;
const SOURCE_ROW_BYTES = 84;

/** Of a target row: links 4, inode 8, size 8, data 8, whether it lacks holes 1. */
const TARGET_ROW_BYTES = 29;

const SOURCE_KEY = 0x73;
const TARGET_KEY = 0x74;

/**
 * An inode of the store as it will be: `dataBytes` are those that are no hole. `lacksHoles`: it was taken over with zeros
 * written out. Inode number 0: still to be made.
 */
export type ForeseenInode = TargetInode & { dataBytes: number; lacksHoles: boolean };

export const isForeseen = ({ inoLow, inoHigh }: TargetInode): boolean => inoLow === 0 && inoHigh === 0;

/**
 * What a survey has met: source inodes and the store's inodes they become, each exactly once, however many there are
 * (the run's own table forgets). The counts are those that decide when a further shared inode is opened.
 */
export class SurveyLedger {
  /** The source inode that `find` found last. */
  readonly hit = { inoLow: 0, inoHigh: 0, links: 0, sizeBytes: 0, mostInSnapshot: 0 };
  readonly #ledger: Ledger;
  readonly #sourceKey = Buffer.alloc(13, SOURCE_KEY);
  readonly #targetKey = Buffer.alloc(53, TARGET_KEY);
  #row: Buffer = Buffer.alloc(SOURCE_ROW_BYTES);

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Looks a source inode up and counts a name of it in `snapshot`; true fills `hit` and copies its reference. */
  find({ device, inoLow, inoHigh }: InodeKey, ref: Ref, snapshot: number): boolean {
    const row = this.#sourceRow(device, inoLow, inoHigh);
    if (row === undefined) return false;
    this.#row = row;
    if (row.readUInt32LE(SNAPSHOT) !== snapshot) {
      row.writeUInt32LE(snapshot, SNAPSHOT);
      row.writeUInt32LE(0, IN_SNAPSHOT);
    }
    const inSnapshot = row.readUInt32LE(IN_SNAPSHOT) + 1;
    const most = Math.max(row.readUInt32LE(MOST_IN_SNAPSHOT), inSnapshot);
    const links = row.readUInt32LE(LINKS) + 1;
    row.writeUInt32LE(inSnapshot, IN_SNAPSHOT);
    row.writeUInt32LE(most, MOST_IN_SNAPSHOT);
    row.writeUInt32LE(links, LINKS);
    ref.setBytes(row);
    const { hit } = this;
    hit.inoLow = row.readUInt32LE(INO_LOW);
    hit.inoHigh = row.readUInt32LE(INO_HIGH);
    hit.links = links;
    hit.sizeBytes = row.readDoubleLE(SIZE);
    hit.mostInSnapshot = most;
    return true;
  }

  /** Takes back the name that the last `find` counted. */
  uncount(): false {
    this.#row.writeUInt32LE(this.#row.readUInt32LE(LINKS) - 1, LINKS);
    this.#row.writeUInt32LE(this.#row.readUInt32LE(IN_SNAPSHOT) - 1, IN_SNAPSHOT);
    return false;
  }

  #sourceRow(device: number, inoLow: number, inoHigh: number): Buffer | undefined {
    const key = this.#sourceKey;
    key.writeUInt32LE(device, 1);
    key.writeUInt32LE(inoLow, 5);
    key.writeUInt32LE(inoHigh, 9);
    return this.#ledger.get(key);
  }

  /** The source inode has become `ref`. */
  insert({ device, inoLow, inoHigh }: InodeKey, ref: Ref, target: TargetInode): void {
    const row = this.#sourceRow(device, inoLow, inoHigh) ?? Buffer.alloc(SOURCE_ROW_BYTES);
    row.set(ref.bytes, 0);
    row.writeUInt32LE(target.links, LINKS);
    row.writeUInt32LE(target.inoLow, INO_LOW);
    row.writeUInt32LE(target.inoHigh, INO_HIGH);
    row.writeDoubleLE(target.sizeBytes, SIZE);
    this.#ledger.set(this.#sourceKey, row);
  }

  /** The store's inode under this reference, as far as the survey has met it. */
  target(ref: Ref): ForeseenInode | undefined {
    const row = this.#targetRow(ref);
    if (row === undefined) return undefined;
    return {
      links: row.readUInt32LE(0),
      inoLow: row.readUInt32LE(4),
      inoHigh: row.readUInt32LE(8),
      sizeBytes: row.readDoubleLE(12),
      dataBytes: row.readDoubleLE(20),
      lacksHoles: row.readUInt8(28) === 1,
    };
  }

  #targetRow(ref: Ref): Buffer | undefined {
    this.#targetKey.set(ref.bytes, 1);
    return this.#ledger.get(this.#targetKey);
  }

  insertTarget(ref: Ref, target: ForeseenInode): void {
    const row = Buffer.alloc(TARGET_ROW_BYTES);
    row.writeUInt32LE(target.links, 0);
    row.writeUInt32LE(target.inoLow, 4);
    row.writeUInt32LE(target.inoHigh, 8);
    row.writeDoubleLE(target.sizeBytes, 12);
    row.writeDoubleLE(target.dataBytes, 20);
    row.writeUInt8(target.lacksHoles ? 1 : 0, 28);
    this.#targetKey.set(ref.bytes, 1);
    this.#ledger.set(this.#targetKey, row);
  }

  /** A further name of the store's inode. */
  addLink(ref: Ref): void {
    const row = this.#targetRow(ref);
    row?.writeUInt32LE(row.readUInt32LE(0) + 1, 0);
  }

  close(): Promise<void> {
    return this.#ledger.close();
  }
}
