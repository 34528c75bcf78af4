import type { Kernel } from "../sys/files.ts";
import { REF_WORDS, type Ref } from "../../store/store.ts";
import type { KnownObject } from "../relink/batch-planner.ts";
import { RecordWriter, ScatteredRecords, openScratch } from "../relink/record-file.ts";
import { RunSorter, mergeRuns } from "../relink/sorter.ts";

/** An inode that would have this name in the store by then: 32-bit words, sorted by name and turn. */
export const ARRIVAL = {
  ref: 0,
  /** Of several for one name the first gets it. */
  turn: REF_WORDS,
  inoHigh: REF_WORDS + 1,
  inoLow: REF_WORDS + 2,
  nlink: REF_WORDS + 3,
  /** 1: who has the name now would leave it only after that. */
  isEarly: REF_WORDS + 4,
  words: REF_WORDS + 5,
} as const;

const layout = { words: ARRIVAL.words, key: Array.from({ length: ARRIVAL.turn + 1 }, (_, index) => index) };

type List = { fd: number; records: ScatteredRecords; count: number };

/** In a dry run: which inodes would have got which names of the store. In scratch files, whatever their number. */
export class Arrivals {
  readonly #kernel: Kernel;
  readonly #stockFd: number;
  readonly #fd: number;
  readonly #sorter: RunSorter;
  /** The newest first. */
  readonly #lists: List[] = [];

  /** @throws SysError */
  constructor(kernel: Kernel, stockFd: number) {
    this.#kernel = kernel;
    this.#stockFd = stockFd;
    this.#fd = openScratch(kernel, stockFd, "sort");
    this.#sorter = new RunSorter(kernel.sys, this.#fd, layout);
  }

  /** To be filled before the next call. */
  next(): Uint32Array {
    return this.#sorter.next().fill(0);
  }

  /** Those given since the last call: the first for each name arrives, if nobody has it. @throws RunFailure, SysError */
  settle(door: {
    isTaken(arrival: Uint32Array): boolean;
    arrived(arrival: Uint32Array): void;
    late(arrival: Uint32Array): void;
  }): void {
    const { sys } = this.#kernel;
    const runs = this.#sorter.finish();
    if (runs.length === 0) return;
    const fd = openScratch(this.#kernel, this.#stockFd, "arrivals");
    const writer = new RecordWriter(sys, fd, ARRIVAL.words);
    let last: Uint32Array | undefined;
    for (const arrival of mergeRuns(sys, runs, layout)) {
      if ((last !== undefined && compareRefs(last, arrival) === 0) || door.isTaken(arrival)) {
        door.late(arrival);
        continue;
      }
      writer.append(arrival);
      door.arrived(arrival);
      last = arrival.slice();
    }
    writer.flush();
    const records = new ScatteredRecords(sys, fd, ARRIVAL.words);
    this.#lists.unshift({ fd, records, count: writer.count });
  }

  /** Who would have the name. */
  at(ref: Ref): KnownObject | undefined {
    for (const list of this.#lists) {
      const arrival = find(list, ref.words);
      if (arrival !== undefined)
        return {
          sibling: ref.sibling,
          inoHigh: arrival[ARRIVAL.inoHigh] as number,
          inoLow: arrival[ARRIVAL.inoLow] as number,
          links: arrival[ARRIVAL.nlink] as number,
        };
    }
    return undefined;
  }

  close(): void {
    for (const fd of [this.#fd, ...this.#lists.map((list) => list.fd)]) this.#kernel.sys.close(fd);
  }
}

function find({ records, count }: List, ref: Uint32Array): Uint32Array | undefined {
  let [first, end] = [0, count];
  while (first < end) {
    const middle = (first + end) >>> 1;
    const record = records.at(middle);
    const order = compareRefs(record, ref);
    if (order === 0) return record;
    if (order < 0) first = middle + 1;
    else end = middle;
  }
  return undefined;
}

/** By the words of the references that both begin with. */
export function compareRefs(a: Uint32Array, b: Uint32Array, atB = 0): number {
  for (let index = 0; index < REF_WORDS; index++) {
    const difference = (a[index] as number) - (b[atB + index] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}
