import type { Listing } from "./listing.ts";

const PREFIX_BYTES = 32;
/** NAME_MAX of the kernel. */
const NAME_BYTES = 255;

/** Paths as `procPath` has them, of the names in one directory, without an allocation for each. */
export class ProcPaths {
  readonly #bytes = Buffer.alloc(PREFIX_BYTES + NAME_BYTES);
  #prefixBytes = 0;

  enter(dirFd: number): void {
    this.#prefixBytes = this.#bytes.write(`/proc/self/fd/${String(dirFd)}/`, "latin1");
  }

  /** Of the listing's entry; valid until the next call. */
  pathOf(listing: Listing): Buffer {
    return this.#bytes.subarray(0, listing.copyNameTo(this.#bytes, this.#prefixBytes));
  }
}
