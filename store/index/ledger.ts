import type { RootDatabase } from "lmdb";
import { lmdb } from "./lmdb.ts";

/** Rows held in each of the two generations in memory: some 20 MB in all. */
const HELD_ROWS = 32_768;

/**
 * Small rows by key, as many as the disk holds and flat in memory: what was used last is held, the rest lies in LMDB.
 * It lasts as long as the process at most, so nothing is synced. A row that `get` returned may be changed in place
 * until the next call.
 */
export class Ledger {
  readonly #database: RootDatabase<Buffer, Buffer>;
  #young = new Map<string, Buffer>();
  #old = new Map<string, Buffer>();

  /** @param directory an empty one; it may be removed once this returns. */
  static open(directory: string): Ledger {
    const database = lmdb().open<Buffer, Buffer>({
      path: directory,
      noSubdir: false,
      keyEncoding: "binary",
      encoding: "binary",
      noSync: true,
      overlappingSync: false,
      cache: false,
      commitDelay: 0,
    });
    return new Ledger(database);
  }

  private constructor(database: RootDatabase<Buffer, Buffer>) {
    this.#database = database;
  }

  get(key: Buffer): Buffer | undefined {
    const text = key.toString("latin1");
    const young = this.#young.get(text);
    if (young !== undefined) return young;
    const row = this.#old.get(text) ?? this.#read(key);
    if (row !== undefined) this.#hold(text, row);
    return row;
  }

  set(key: Buffer, row: Buffer): void {
    this.#hold(key.toString("latin1"), row);
  }

  #read(key: Buffer): Buffer | undefined {
    const row = this.#database.getBinaryFast(key);
    return row === undefined ? undefined : Buffer.from(row);
  }

  #hold(text: string, row: Buffer): void {
    this.#old.delete(text);
    this.#young.set(text, row);
    if (this.#young.size < HELD_ROWS) return;
    this.#database.transactionSync(() => {
      for (const [key, each] of this.#old) this.#database.putSync(Buffer.from(key, "latin1"), each);
    });
    this.#old = this.#young;
    this.#young = new Map();
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}
