import type { Memory, Sys } from "../sys/sys.ts";
import { RecordReader, writeScratch } from "./record-file.ts";

/** A sorted stretch of a scratch file. */
export type Run = { fd: number; first: number; count: number };

/** Memory for the records of one sorter, and for the buffers of one merge. */
const SORT_BYTES = 4 << 20;
const MERGE_BYTES = 2 << 20;
/** Of very many runs the buffers may take more, so that each still reads so much at once. */
const READ_LEAST_BYTES = 1 << 14;
const MERGE_MOST_BYTES = 32 << 20;
const READ_BYTES = 1 << 18;

type Order = (a: Uint32Array, atA: number, b: Uint32Array, atB: number) => number;

function orderBy(key: readonly number[]): Order {
  return (a, atA, b, atB) => {
    for (let index = 0; index < key.length; index++) {
      const word = key[index] as number;
      const difference = (a[atA + word] as number) - (b[atB + word] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  };
}

/** Sorts records of words by some of them: in memory as many as fit, the rest as runs in a scratch file. */
export class RunSorter {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #words: number;
  readonly #order: Order;
  readonly #capacity: number;
  /** Made with the first record: a phase that has none costs nothing. */
  #buffers: { view: Uint32Array; sorted: Memory } | undefined;
  readonly #runs: Run[] = [];
  #held = 0;
  #written = 0;

  constructor(sys: Sys, fd: number, layout: { words: number; key: readonly number[] }) {
    const { words, key } = layout;
    this.#sys = sys;
    this.#fd = fd;
    this.#words = words;
    this.#order = orderBy(key);
    this.#capacity = Math.floor(SORT_BYTES / (words * 4));
  }

  #opened(): { view: Uint32Array; sorted: Memory } {
    const bytes = this.#capacity * this.#words * 4;
    this.#buffers ??= { view: wordsOf(this.#sys.allocate(bytes)), sorted: this.#sys.allocate(bytes) };
    return this.#buffers;
  }

  /** Room for the next record, to be filled before the next call; its words are those of an earlier one. */
  next(): Uint32Array {
    if (this.#held === this.#capacity) this.#writeRun();
    const from = this.#held * this.#words;
    this.#held++;
    return this.#opened().view.subarray(from, from + this.#words);
  }

  /** Takes back the record that `next` gave last. */
  drop(): void {
    this.#held--;
  }

  /** The sorted runs; the sorter begins anew in the same file. */
  finish(): Run[] {
    if (this.#held > 0) this.#writeRun();
    return this.#runs.splice(0);
  }

  #writeRun(): void {
    const words = this.#words;
    const { view, sorted: target } = this.#opened();
    const order = this.#order;
    const indexes = new Uint32Array(this.#held);
    for (let index = 0; index < indexes.length; index++) indexes[index] = index;
    indexes.sort((a, b) => order(view, a * words, view, b * words));
    const sorted = wordsOf(target);
    for (let index = 0; index < indexes.length; index++) {
      const from = (indexes[index] as number) * words;
      const to = index * words;
      for (let word = 0; word < words; word++) sorted[to + word] = view[from + word] as number;
    }
    writeScratch(this.#sys, this.#fd, target, this.#held * words * 4, this.#written * words * 4);
    this.#runs.push({ fd: this.#fd, first: this.#written, count: this.#held });
    this.#written += this.#held;
    this.#held = 0;
  }
}

function wordsOf({ bytes }: Memory): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** One run being merged: its next record. */
type Head = { reader: RecordReader; at: number; end: number; record: Uint32Array };

/** All records of the runs in order; each is valid until the next is asked for. */
export function* mergeRuns(
  sys: Sys,
  runs: readonly Run[],
  layout: { words: number; key: readonly number[] },
): Generator<Uint32Array> {
  const order = orderBy(layout.key);
  const share = (sizeBytes: number): number => Math.floor(sizeBytes / Math.max(1, runs.length));
  const leastBytes = Math.min(READ_LEAST_BYTES, share(MERGE_MOST_BYTES));
  const bufferBytes = Math.min(READ_BYTES, Math.max(leastBytes, share(MERGE_BYTES)));
  const heap: Head[] = [];
  for (const { fd, first, count } of runs) {
    if (count === 0) continue;
    const reader = new RecordReader(sys, fd, layout.words, bufferBytes);
    heap.push({ reader, at: first, end: first + count, record: reader.at(first) });
  }
  const isBefore = (a: Head, b: Head): boolean => order(a.record, 0, b.record, 0) < 0;
  for (let index = (heap.length >> 1) - 1; index >= 0; index--) sink(heap, index, isBefore);
  for (let head = heap[0]; head !== undefined; head = heap[0]) {
    yield head.record;
    head.at++;
    if (head.at < head.end) head.record = head.reader.at(head.at);
    else {
      const last = heap.pop() as Head;
      if (heap.length > 0) heap[0] = last;
    }
    sink(heap, 0, isBefore);
  }
}

function sink(heap: Head[], from: number, isBefore: (a: Head, b: Head) => boolean): void {
  for (let index = from; ;) {
    let least = index;
    for (const child of [2 * index + 1, 2 * index + 2])
      if (child < heap.length && isBefore(heap[child] as Head, heap[least] as Head)) least = child;
    if (least === index) return;
    [heap[index], heap[least]] = [heap[least] as Head, heap[index] as Head];
    index = least;
  }
}
