import type { Address, Memory, Sys } from "../src/sys/sys.ts";

/** digest 32, variant 8, group 8, sibling 4. */
export const REF_BYTES = 52;
export const REF_WORDS = REF_BYTES / 4;
/** As a sibling's number: the content is known, and has no name in objects/ (yet). */
export const NO_OBJECT = 0xffffffff;
const DIGEST_WORDS = 8;
const VARIANT_AT = 8;
const GROUP_AT = 10;
const SIBLING_AT = 12;

const hexDigits = Buffer.from("0123456789abcdef");
/** By character; -1 for those that are no digits. */
const digitValues = new Int8Array(256).fill(-1);
hexDigits.forEach((character, value) => (digitValues[character] = value));
const SLASH = 0x2f;
const DOT = 0x2e;
const LETTER_G = 0x67;

/** docs/store-format.md, "Names". */
const fanOutShape = /^[0-9a-f]{2}$/;

/** What a reference names; see docs/store-format.md. */
export type RefKind = "object" | "held";

/**
 * Names one inode of the store: an object (digest and variant, with a group where it must not be shared and a
 * sibling number past the link limit) or, where the digest is all zero, the holder of a hard-link group that is
 * never merged. Mutable and reused: one per thread and purpose. `address` is valid until the next `format`.
 */
export class Ref {
  readonly words = new Uint32Array(REF_WORDS);
  readonly bytes = new Uint8Array(this.words.buffer);
  readonly #path: Memory;
  #length = 0;

  constructor(sys: Sys) {
    this.#path = sys.allocate(128);
  }

  setObject(digest: Uint8Array, variant: Uint8Array, group: Uint8Array | undefined): this {
    this.words.fill(0);
    this.bytes.set(digest, 0);
    this.bytes.set(variant, VARIANT_AT * 4);
    if (group !== undefined) this.bytes.set(group, GROUP_AT * 4);
    return this;
  }

  setHeld(group: Uint8Array): this {
    this.words.fill(0);
    this.bytes.set(group, GROUP_AT * 4);
    return this;
  }

  copyFrom(words: Uint32Array, at: number): this {
    for (let index = 0; index < REF_WORDS; index++) this.words[index] = words[at + index] as number;
    return this;
  }

  setBytes(bytes: Uint8Array): this {
    this.bytes.set(bytes.subarray(0, REF_BYTES));
    return this;
  }

  /**
   * What `directory` and a name below objects/ (or groups/) say; the name is in `bytes` from `at` on, up to a 0.
   * @returns false: no run gives such a name
   */
  parse(kind: RefKind, directory: string, { bytes, at }: { bytes: Uint8Array; at: number }): boolean {
    if (!fanOutShape.test(directory)) return false;
    this.words.fill(0);
    const [first, end] = kind === "object" ? [0, VARIANT_AT * 4] : [GROUP_AT * 4, SIBLING_AT * 4];
    this.bytes[first] = Number.parseInt(directory, 16);
    let next = this.#takeDigits(first + 1, end, bytes, at);
    if (kind === "object" && next >= 0) {
      next = bytes[next] === DOT ? this.#takeDigits(VARIANT_AT * 4, GROUP_AT * 4, bytes, next + 1) : -1;
      if (next >= 0 && bytes[next] === DOT && bytes[next + 1] === LETTER_G) {
        next = this.#takeDigits(GROUP_AT * 4, SIBLING_AT * 4, bytes, next + 2);
        if (!this.#hasGroup) return false;
      }
    }
    return next >= 0 && this.#takeSibling(bytes, next);
  }

  /** Fills the bytes from `from` to `to`. @returns where the digits end; -1: there are fewer of them */
  #takeDigits(from: number, to: number, bytes: Uint8Array, at: number): number {
    for (let index = from; index < to; index++, at += 2) {
      const value =
        ((digitValues[bytes[at] as number] as number) << 4) |
        (digitValues[bytes[at + 1] as number] as number);
      if (value < 0) return -1;
      this.bytes[index] = value;
    }
    return at;
  }

  /** The rest of the name: nothing, or a number of one to nine digits. */
  #takeSibling(bytes: Uint8Array, at: number): boolean {
    if (bytes[at] === 0) return true;
    if (bytes[at] !== DOT) return false;
    let sibling = 0;
    let next = at + 1;
    for (; next < at + 10; next++) {
      const value = digitValues[bytes[next] as number] as number;
      if (value < 0 || value > 9 || (value === 0 && sibling === 0)) break;
      sibling = sibling * 10 + value;
    }
    this.sibling = sibling;
    return sibling > 0 && bytes[next] === 0;
  }

  get kind(): RefKind {
    for (let index = 0; index < DIGEST_WORDS; index++) if (this.words[index] !== 0) return "object";
    return "held";
  }
  get digest(): Uint8Array {
    return this.bytes.subarray(0, VARIANT_AT * 4);
  }
  get variant(): Uint8Array {
    return this.bytes.subarray(VARIANT_AT * 4, GROUP_AT * 4);
  }
  /** Of an object that must not be shared; all zero otherwise. */
  get group(): Uint8Array {
    return this.bytes.subarray(GROUP_AT * 4, SIBLING_AT * 4);
  }
  setGroup(group: Uint8Array): this {
    this.bytes.set(group, GROUP_AT * 4);
    return this;
  }
  get #hasGroup(): boolean {
    return this.words[GROUP_AT] !== 0 || this.words[GROUP_AT + 1] !== 0;
  }
  get sibling(): number {
    return this.words[SIBLING_AT] as number;
  }
  set sibling(value: number) {
    this.words[SIBLING_AT] = value;
  }

  /** Writes the path below objects/ or groups/ and returns its address. */
  format(): Address {
    const out = this.#path.bytes;
    let at = 0;
    const hex = (from: number, to: number): void => {
      for (let index = from; index < to; index++) {
        const byte = this.bytes[index] as number;
        out[at++] = hexDigits[byte >> 4] as number;
        out[at++] = hexDigits[byte & 15] as number;
      }
    };
    const isObject = this.kind === "object";
    const first = isObject ? 0 : GROUP_AT * 4;
    hex(first, first + 1);
    out[at++] = SLASH;
    hex(first + 1, isObject ? VARIANT_AT * 4 : SIBLING_AT * 4);
    if (isObject) {
      out[at++] = DOT;
      hex(VARIANT_AT * 4, GROUP_AT * 4);
      if (this.#hasGroup) {
        out[at++] = DOT;
        out[at++] = LETTER_G;
        hex(GROUP_AT * 4, SIBLING_AT * 4);
      }
    }
    if (this.sibling > 0) at += out.write(`.${String(this.sibling)}`, at, "latin1");
    out[at] = 0;
    this.#length = at;
    return this.#path.address;
  }

  /** The path last formatted, for messages. */
  get text(): string {
    this.format();
    return this.#path.bytes.toString("latin1", 0, this.#length);
  }
}
