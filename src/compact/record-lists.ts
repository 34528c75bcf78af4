import type { Kernel } from "../sys/files.ts";
import { numberAt } from "../relink/layout.ts";
import { RecordWriter, openScratch } from "../relink/record-file.ts";
import { mergeRuns, type Run } from "../relink/sorter.ts";
import { Ref } from "../../store/store.ts";
import type { OwnTask } from "./messages.ts";
import { BLOCKS_HIGH, BLOCK_BYTES, KIND, REF, UNNAMED } from "./attention.ts";

const RECORDS_A_TASK = 256;

/** A stretch of a list: records of one kind. */
export type Stretch = { recordsFd: number; first: number; count: number };
export type Unnamed = { objects: number; holders: number; bytes: number };

/** What all threads took down, in one file, sorted by kind. */
export class RecordList {
  readonly unnamed: Unnamed = { objects: 0, holders: 0, bytes: 0 };
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #stretches = new Map<number, Stretch>();
  #count = 0;

  /** @throws RunFailure, SysError */
  constructor(
    kernel: Kernel,
    { stockFd, name, runs }: { stockFd: number; name: string; runs: readonly Run[] },
    layout: { words: number; key: readonly number[] },
  ) {
    this.#kernel = kernel;
    this.#fd = openScratch(kernel, stockFd, name);
    const writer = new RecordWriter(kernel.sys, this.#fd, layout.words);
    const ref = new Ref(kernel.sys);
    for (const record of mergeRuns(kernel.sys, runs, layout)) {
      this.#add(record[KIND] as number);
      if (record[KIND] === UNNAMED) this.#addUnnamed(ref.copyFrom(record, REF), record);
      writer.append(record);
    }
    writer.flush();
  }

  #add(kind: number): void {
    const stretch = this.#stretches.get(kind);
    if (stretch === undefined)
      this.#stretches.set(kind, { recordsFd: this.#fd, first: this.#count, count: 1 });
    else stretch.count++;
    this.#count++;
  }

  #addUnnamed(ref: Ref, record: Uint32Array): void {
    if (ref.kind === "object") this.unnamed.objects++;
    else this.unnamed.holders++;
    this.unnamed.bytes += numberAt(record, BLOCKS_HIGH) * BLOCK_BYTES;
  }

  get count(): number {
    return this.#count;
  }
  of(kind: number): Stretch {
    return this.#stretches.get(kind) ?? { recordsFd: this.#fd, first: 0, count: 0 };
  }
  get whole(): Stretch {
    return { recordsFd: this.#fd, first: 0, count: this.#count };
  }

  close(): void {
    this.#kernel.sys.close(this.#fd);
  }
}

/** Of all kinds where none is named. */
export function stretchOf(list: RecordList | undefined, kind?: number): Stretch {
  if (list === undefined) return { recordsFd: -1, first: 0, count: 0 };
  return kind === undefined ? list.whole : list.of(kind);
}

export function* tasksOf(
  stretches: Iterable<Stretch>,
  task: (range: Stretch) => OwnTask,
): Generator<OwnTask> {
  for (const { recordsFd, first, count } of stretches)
    for (let done = 0; done < count; done += RECORDS_A_TASK)
      yield task({ recordsFd, first: first + done, count: Math.min(RECORDS_A_TASK, count - done) });
}
