import type { RootDatabase } from "lmdb";
import { SysError } from "../../src/sys/errors.ts";
import {
  IDENTITY_BYTES,
  RECORD_BYTES,
  decodeSourceRow,
  decodeTarget,
  isRecord,
  objectRow,
  rawFields,
  sourceRow,
  targetOfSourceRow,
  type TargetState,
} from "../record.ts";
import { REF_BYTES } from "../ref.ts";
import { lmdb } from "./lmdb.ts";

const SOURCE_KEY = 0x73;
const OBJECT_KEY = 0x6f;
const SIZE_KEY = 0x7a;
/** How many rows there were when each was last looked at: one row, the first of all. */
const WEIGHED_KEY = Buffer.from([0x01]);
/** Contents below this are cheaper to write twice than to look up. */
export const LARGE_BYTES = 1 << 20;

type Database = RootDatabase<Buffer, Buffer>;

/** A row as it lies in the index: of an object or a source inode with what it says of the store's inode, or of a size. */
export type IndexRow = { key: Buffer; value: Buffer } & (
  | { type: "object"; ref: Buffer; target: TargetState }
  | { type: "source"; identity: Buffer; ino: bigint; ref: Buffer; target: TargetState }
  | { type: "size"; sizeBytes: number }
  | { type: "unknown" }
);

const noIdentity = Buffer.alloc(IDENTITY_BYTES);
const present = Buffer.from([1]);

/**
 * The index: what earlier runs learned, in LMDB. Rows only ever save a read (P9): they are written after the
 * content they speak of is durable, and checked against the inodes before they are believed. One process writes,
 * from one thread; others read through a handle of their own.
 */
export class Index {
  readonly #database: Database;
  readonly #sourceKey = Buffer.alloc(1 + IDENTITY_BYTES + 8, SOURCE_KEY);
  readonly #objectKey = Buffer.alloc(1 + REF_BYTES, OBJECT_KEY);
  readonly #sizeKey = Buffer.alloc(1 + 8, SIZE_KEY);

  /** @param directory where LMDB keeps data.mdb and lock.mdb; it must exist, or lmdb goes on for ever making it. */
  static open(directory: string, access: "read" | "write"): Index {
    return Index.#open(directory, { noSubdir: false, readOnly: access === "read" });
  }

  /** A new index in a file of its own, which nobody relies on before it is closed and synced. */
  static create(file: string): Index {
    return Index.#open(file, { noSubdir: true, readOnly: false, noSync: true });
  }

  static #open(path: string, more: { noSubdir: boolean; readOnly: boolean; noSync?: boolean }): Index {
    const database = lmdb().open<Buffer, Buffer>({
      path,
      ...more,
      keyEncoding: "binary",
      encoding: "binary",
      // A commit returns when it is on disk; a batch is thousands of rows, so there is nothing to overlap.
      overlappingSync: false,
      // Workers each hold a reader for a whole task; the rest is headroom for verify and stats beside a run.
      maxReaders: 256,
      cache: false,
      // lmdb-js would otherwise commit from a thread of its own.
      commitDelay: 0,
    });
    return new Index(database);
  }

  private constructor(database: Database) {
    this.#database = database;
  }

  /** The value of the source row, valid until the next call. */
  source(identity: Uint8Array, ino: bigint): Buffer | undefined {
    this.#sourceKey.set(identity, 1);
    this.#sourceKey.writeBigUInt64BE(ino, 1 + IDENTITY_BYTES);
    return this.#database.getBinaryFast(this.#sourceKey);
  }

  /** The value of the object row, valid until the next call. */
  object(ref: Uint8Array): Buffer | undefined {
    this.#objectKey.set(ref, 1);
    return this.#database.getBinaryFast(this.#objectKey);
  }

  /** Whether some object has this size; known for sizes from LARGE_BYTES on. */
  hasSize(sizeBytes: number): boolean {
    this.#sizeKey.writeDoubleBE(sizeBytes, 1);
    return this.#database.getBinaryFast(this.#sizeKey) !== undefined;
  }

  /**
   * The target inode of each source row: as many times as source inodes became it. Rows of the target's own inodes
   * (`identity` is its filesystem's), which relink and compact write, are left out.
   */
  *targets(identity: Uint8Array): Generator<bigint> {
    const range = { start: Buffer.from([SOURCE_KEY]), end: Buffer.from([SOURCE_KEY + 1]) };
    for (const { key, value } of this.#database.getRange(range)) {
      const { ino } = targetOfSourceRow(value);
      const isOwn =
        key.readBigUInt64BE(1 + IDENTITY_BYTES) === ino &&
        key.subarray(1, 1 + IDENTITY_BYTES).equals(identity);
      if (!isOwn) yield ino;
    }
  }

  get hasRows(): boolean {
    return this.#database.getKeysCount({ limit: 1 }) > 0;
  }

  /** Lets go of the snapshot of the index that reads see; the next read sees what was committed since. */
  refresh(): void {
    this.#database.resetReadTxn();
  }

  /** In one transaction. @throws SysError */
  #write(work: () => void): void {
    try {
      this.#database.transactionSync(work);
    } catch (error) {
      throw kernelError(error);
    }
  }

  /** Writes the rows of whole records (a multiple of RECORD_BYTES; damaged ones are passed over), in one transaction. */
  commit(records: Buffer): void {
    this.#write(() => {
      this.#database.removeSync(WEIGHED_KEY);
      for (let at = 0; at + RECORD_BYTES <= records.length; at += RECORD_BYTES) {
        this.#putRecord(records.subarray(at, at + RECORD_BYTES));
      }
    });
  }

  /** From the record's bytes as they are: nothing of them needs to be understood. */
  #putRecord(record: Buffer): void {
    if (!isRecord(record)) return;
    const { identity, ino, ref, targetSizeBytes } = rawFields(record);
    if (!identity.equals(noIdentity)) {
      this.#sourceKey.set(identity, 1);
      this.#sourceKey.set(ino, 1 + IDENTITY_BYTES);
      this.#sourceKey.subarray(1 + IDENTITY_BYTES).swap64();
      this.#database.putSync(this.#sourceKey, sourceRow(record));
    }
    this.#objectKey.set(ref, 1);
    this.#database.putSync(this.#objectKey, objectRow(record));
    if (targetSizeBytes < LARGE_BYTES) return;
    this.#sizeKey.writeDoubleBE(targetSizeBytes, 1);
    this.#database.putSync(this.#sizeKey, present);
  }

  /** Rows, but for the one that says how many they were. */
  get rowCount(): number {
    const { entryCount = 0 } = this.#database.getStats() as { entryCount?: number };
    return entryCount - (this.weighedRows === undefined ? 0 : 1);
  }

  get weighedRows(): number | undefined {
    return this.#database.getBinaryFast(WEIGHED_KEY)?.readDoubleLE(0);
  }
  /** Durable when it returns; a full disk may refuse it. @returns what was remembered */
  forgetWeighed(): number | undefined {
    const weighed = this.weighedRows;
    if (weighed !== undefined)
      this.#write(() => {
        this.#database.removeSync(WEIGHED_KEY);
      });
    return weighed;
  }
  rememberWeighed(count: number): void {
    this.#write(() => {
      this.#putWeighed(count);
    });
  }
  #putWeighed(count: number): void {
    const value = Buffer.alloc(8);
    value.writeDoubleLE(count);
    this.#database.putSync(WEIGHED_KEY, value);
  }

  /** All rows in the order of their keys; a row is valid until the next. */
  *rows(): Generator<IndexRow> {
    for (const { key, value } of this.#database.getRange({
      start: Buffer.from([WEIGHED_KEY[0] as number, 0]),
      snapshot: true,
    }) as Iterable<{
      key: Buffer;
      value: Buffer;
    }>)
      yield { key, value, ...meaningOf(key, value) };
  }

  /**
   * Rows that come in the order of their keys, in one transaction. `weighed`: they are the last, and there are so many;
   * a further transaction would copy pages.
   */
  put(rows: readonly { key: Buffer; value: Buffer }[], weighed?: number): void {
    this.#write(() => {
      for (const { key, value } of rows) this.#database.putSync(key, value, { append: true });
      if (weighed !== undefined) this.#putWeighed(weighed);
    });
  }

  /** What the pages with rows take. */
  get usedBytes(): number {
    const stats = this.#database.getStats() as Record<string, number | undefined>;
    const { pageSize = 4096, treeBranchPageCount = 0, treeLeafPageCount = 0, overflowPages = 0 } = stats;
    return (treeBranchPageCount + treeLeafPageCount + overflowPages) * pageSize;
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

/** LMDB tells errors by their numbers; its own are negative. */
function kernelError(error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "number" && code > 0 ? new SysError("write", code, "index") : error;
}

function meaningOf(key: Buffer, value: Buffer) {
  const type = key[0];
  if (type === OBJECT_KEY && key.length === 1 + REF_BYTES)
    return { type: "object", ref: key.subarray(1), target: decodeTarget(value) } as const;
  if (type === SOURCE_KEY && value.length === RECORD_BYTES - 24) {
    const { ref, target } = decodeSourceRow(value);
    const identity = key.subarray(1, 1 + IDENTITY_BYTES);
    return { type: "source", identity, ino: key.readBigUInt64BE(1 + IDENTITY_BYTES), ref, target } as const;
  }
  if (type === SIZE_KEY && key.length === 9) return { type: "size", sizeBytes: key.readDoubleBE(1) } as const;
  return { type: "unknown" } as const;
}
