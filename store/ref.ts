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
const SLASH = 0x2f;
const DOT = 0x2e;
const LETTER_G = 0x67;

/** docs/store-format.md, "Names". */
const fanOutShape = /^[0-9a-f]{2}$/;
const objectShape = /^([0-9a-f]{62})\.([0-9a-f]{16})(?:\.g(?!0{16})([0-9a-f]{16}))?(?:\.([1-9][0-9]{0,8}))?$/;
const holderShape = /^([0-9a-f]{14})(?:\.([1-9][0-9]{0,8}))?$/;

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

  /** What `directory`/`name` below objects/ (or groups/) names. @returns false: no run gives such a name */
  parse(kind: RefKind, directory: string, name: string): boolean {
    if (!fanOutShape.test(directory)) return false;
    const [shape, at] = kind === "object" ? [objectShape, 0] : [holderShape, GROUP_AT * 4];
    const parts = shape.exec(name);
    if (parts === null) return false;
    this.words.fill(0);
    const out = Buffer.from(this.words.buffer);
    out.write(directory + (parts[1] as string), at, "hex");
    if (kind === "object") {
      out.write(parts[2] as string, VARIANT_AT * 4, "hex");
      out.write(parts[3] ?? "", GROUP_AT * 4, "hex");
    }
    this.sibling = Number(parts[kind === "object" ? 4 : 2] ?? 0);
    return true;
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
      if (this.words[GROUP_AT] !== 0 || this.words[GROUP_AT + 1] !== 0) {
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
