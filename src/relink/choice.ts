import { DT_DIR, DT_REG, DT_UNKNOWN } from "../sys/constants.ts";
import type { Listing } from "../tree/listing.ts";
import { InodeSet } from "../verify/inode-set.ts";
import type { StockChoice } from "./messages.ts";

/** Says of an entry, by its inode number alone, whether it is to be looked at. One per walk and thread. */
export class Choice {
  readonly #known: InodeSet;
  readonly #again: InodeSet;
  readonly #told: ReadonlySet<string>;
  readonly #takesNew: boolean;
  readonly #isTrusted: boolean;
  /** Inodes without content, looked at once. */
  readonly #empty = new InodeSet();

  constructor({ known, again, told, takes, trustsDirentIno }: StockChoice) {
    this.#known = new InodeSet(known);
    this.#again = new InodeSet(again);
    this.#told = new Set(told);
    this.#takesNew = takes === "new";
    this.#isTrusted = trustsDirentIno;
  }

  /** Whether the entry at hand is passed over: nothing but a directory or a wanted inode is worth a call. */
  passes(listing: Listing): boolean {
    if (!this.#isTrusted) return false;
    const { type } = listing;
    if (type === DT_DIR || type === DT_UNKNOWN) return false;
    if (type !== DT_REG) return true;
    const { inoLow, inoHigh } = listing;
    return !this.takes(inoLow, inoHigh) && !this.tells(inoLow, inoHigh);
  }

  takes(inoLow: number, inoHigh: number): boolean {
    if (this.#again.has(inoLow, inoHigh)) return true;
    return this.#takesNew && !this.#known.has(inoLow, inoHigh) && !this.#empty.has(inoLow, inoHigh);
  }

  tells(inoLow: number, inoHigh: number): boolean {
    return this.#told.size > 0 && this.#told.has(`${String(inoHigh)}:${String(inoLow)}`);
  }

  foundEmpty(inoLow: number, inoHigh: number): void {
    this.#empty.add(inoLow, inoHigh);
  }
}
