import { check } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";

const BLOCK_BYTES = 1 << 13;
/** What begins in a block may end in the next one. */
const OVERLAP_BYTES = 1 << 10;
const SLOT_BYTES = BLOCK_BYTES + OVERLAP_BYTES;

/** A file of the stock that is read here and there: some of its blocks are kept. */
export class BlockCache {
  readonly #sys: Sys;
  readonly #fd: number;
  /** Of each slot: its block, and how much of it was read. */
  readonly #blocks: Float64Array;
  readonly #heldBytes: Uint32Array;
  /** All slots; made with the first read. */
  #memory: Memory | undefined;
  #words: Uint32Array = new Uint32Array();

  /** `sizeBytes`: how much to keep, at least a block. */
  constructor(sys: Sys, fd: number, sizeBytes: number) {
    const slots = Math.max(1, Math.floor(sizeBytes / SLOT_BYTES));
    this.#sys = sys;
    this.#fd = fd;
    this.#blocks = new Float64Array(slots).fill(-1);
    this.#heldBytes = new Uint32Array(slots);
  }

  /** Bytes of the file, valid until the next call. @throws SysError; what is beyond the file's end is a bug */
  read(position: number, sizeBytes: number): Buffer {
    if (sizeBytes > OVERLAP_BYTES) return this.#readLong(position, sizeBytes);
    const from = this.#hold(position, sizeBytes);
    return (this.#memory as Memory).bytes.subarray(from, from + sizeBytes);
  }

  /** Fills `into`, at most 256 words, from a position that is a multiple of 4. As `read`. */
  copyWords(position: number, into: Uint32Array): void {
    const from = this.#hold(position, into.length * 4) / 4;
    for (let index = 0; index < into.length; index++) into[index] = this.#words[from + index] as number;
  }

  /** @returns where in the memory the bytes begin */
  #hold(position: number, sizeBytes: number): number {
    const block = Math.floor(position / BLOCK_BYTES);
    const slot = block % this.#blocks.length;
    const until = position - block * BLOCK_BYTES + sizeBytes;
    if (this.#blocks[slot] !== block || until > (this.#heldBytes[slot] as number)) this.#fill(slot, block);
    if (until > (this.#heldBytes[slot] as number)) throw short(position);
    return slot * SLOT_BYTES + until - sizeBytes;
  }

  /** The file is written anew: what is held of it is of no use. */
  forget(): void {
    this.#blocks.fill(-1);
  }

  #fill(slot: number, block: number): void {
    this.#memory ??= this.#allocate();
    const address = this.#memory.address + slot * SLOT_BYTES;
    this.#blocks[slot] = -1;
    this.#heldBytes[slot] = this.#pread(address, SLOT_BYTES, block * BLOCK_BYTES);
    this.#blocks[slot] = block;
  }

  #allocate(): Memory {
    const memory = this.#sys.allocate(this.#blocks.length * SLOT_BYTES);
    const { buffer, byteOffset, length } = memory.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, length / 4);
    return memory;
  }

  #readLong(position: number, sizeBytes: number): Buffer {
    const memory = this.#sys.allocate(sizeBytes);
    if (this.#pread(memory.address, sizeBytes, position) < sizeBytes) throw short(position);
    return memory.bytes;
  }

  /** @returns less only at the file's end */
  #pread(address: number, sizeBytes: number, position: number): number {
    let held = 0;
    for (let got = -1; got !== 0 && held < sizeBytes; held += got)
      got = check(this.#sys.pread(this.#fd, address + held, sizeBytes - held, position + held), "read");
    return held;
  }
}

function short(position: number): Error {
  return new Error(`the stock ends before ${String(position)}`);
}
