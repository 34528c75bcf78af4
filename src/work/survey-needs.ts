/** A name in objects/, an index row for the source and one for the object, the journal: what a stored inode costs. */
const ROWS_BYTES = 512;
/** objects/ fans out 256-fold; the rest are the store's own directories and files. */
const FAN_OUT = 256;
const STORE_INODES = 12;

export type NeedCounts = { bytes: number; inodes: number };

/** What a run would take of the target's free space, in whole blocks; without what an update gives back. */
export class Needs {
  readonly #blockBytes: number;
  readonly #store: "new" | "there";
  #bytes = 0;
  #inodes = 0;
  #directories = 0;

  constructor(blockBytes: number, store: "new" | "there") {
    this.#blockBytes = blockBytes;
    this.#store = store;
  }

  /** A new inode that is no directory. */
  inode(dataBytes: number): void {
    this.#inodes++;
    this.#bytes += this.#rounded(dataBytes) + ROWS_BYTES;
  }

  directory(sizeBytes: number): void {
    this.#directories++;
    this.#bytes += Math.max(this.#blockBytes, this.#rounded(sizeBytes));
  }

  #rounded(bytes: number): number {
    return Math.ceil(bytes / this.#blockBytes) * this.#blockBytes;
  }

  get counts(): NeedCounts {
    const store = this.#store === "new" ? Math.min(FAN_OUT, this.#inodes) + STORE_INODES : 0;
    return {
      bytes: this.#bytes + store * this.#blockBytes,
      inodes: this.#inodes + this.#directories + store,
    };
  }
}
