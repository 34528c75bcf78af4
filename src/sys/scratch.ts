import { errno } from "./errors.ts";
import type { Address, Memory, Sys } from "./sys.ts";

const SLOT_BYTES = 4096 + 64;
const SLOTS = 8;

/**
 * Room for the NUL-terminated strings of a call. `at` copies bytes into the next of eight slots, so that the
 * last eight strings handed out are valid; more than any call takes. One per thread.
 */
export class Scratch {
  readonly #memory: Memory;
  /** The empty string, for calls with AT_EMPTY_PATH. */
  readonly empty: Address;
  #next = 0;

  constructor(sys: Sys) {
    this.#memory = sys.allocate(SLOT_BYTES * SLOTS + 8);
    this.empty = this.#memory.address + SLOT_BYTES * SLOTS;
  }

  /** The address of a NUL-terminated copy of `bytes` (at most 4,096 of them). */
  at(bytes: Uint8Array): Address {
    if (bytes.length >= SLOT_BYTES)
      throw new RangeError(`a string of ${String(bytes.length)} bytes (${String(errno.ENAMETOOLONG)})`);
    const offset = this.#next * SLOT_BYTES;
    this.#next = (this.#next + 1) % SLOTS;
    this.#memory.bytes.set(bytes, offset);
    this.#memory.bytes[offset + bytes.length] = 0;
    return this.#memory.address + offset;
  }

  text(text: string): Address {
    return this.at(Buffer.from(text));
  }
}
