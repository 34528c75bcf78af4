/** Bytes that grow: words of 4 bytes (little-endian), and texts as their length and their bytes. */
export class GrowingBytes {
  #bytes = Buffer.alloc(1 << 16);
  #end = 0;

  #room(count: number): void {
    if (this.#end + count <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#end + count, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
  words(...words: number[]): void {
    this.row(words, 0, words.length);
  }
  /** `count` words of a row, from `at` on. */
  row(row: ArrayLike<number>, at: number, count: number): void {
    this.#room(count * 4);
    for (let index = at; index < at + count; index++)
      this.#end = this.#bytes.writeUInt32LE((row[index] as number) >>> 0, this.#end);
  }
  bytes(bytes: Uint8Array): void {
    this.words(bytes.length);
    this.raw(bytes);
  }
  /** Without their length. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }
  get length(): number {
    return this.#end;
  }
  /** Valid until more is added. */
  get whole(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }
  clear(): void {
    this.#end = 0;
  }
}

/** Reads what GrowingBytes wrote, from the beginning on. */
export class BytesReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }
  get position(): number {
    return this.#at;
  }
  word(): number {
    this.#at += 4;
    return this.#bytes.readUInt32LE(this.#at - 4);
  }
  words(count: number): Uint32Array {
    return Uint32Array.from({ length: count }, () => this.word());
  }
  bytes(length = this.word()): Buffer {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}
