import type { Kernel } from "../sys/files.ts";
import { objectHints, type ObjectHint } from "../../store/store.ts";
import { timeAt, inoAt, MTIME } from "../relink/layout.ts";
import type { DamagedInode } from "./damaged.ts";

/**
 * What the index says of some objects. It is read once it is asked for, as a whole; `indexFd` -1 where there is none.
 */
export class RecordedObjects {
  readonly #kernel: Kernel;
  readonly #indexFd: number;
  readonly #wanted: ReadonlySet<string>;
  #rows: Map<string, ObjectHint["target"][]> | undefined;

  /** `wanted`: references as latin1. */
  constructor(kernel: Kernel, indexFd: number, wanted: ReadonlySet<string>) {
    this.#kernel = kernel;
    this.#indexFd = indexFd;
    this.#wanted = wanted;
  }

  /** Whether the inode was known as this object with the size and time that it has now. */
  has({ ref, state, sizeBytes }: DamagedInode): boolean {
    this.#rows ??= this.#read();
    const rows = this.#rows.get(ref.toString("latin1")) ?? [];
    return rows.some(
      (row) =>
        row.ino === inoAt(state) && row.sizeBytes === sizeBytes && row.mtimeNs === timeAt(state, MTIME),
    );
  }

  #read(): Map<string, ObjectHint["target"][]> {
    const found = new Map<string, ObjectHint["target"][]>();
    if (this.#indexFd < 0) return found;
    for (const { ref, target } of objectHints(this.#kernel, this.#indexFd)) {
      const key = ref.toString("latin1");
      if (this.#wanted.has(key)) found.set(key, [...(found.get(key) ?? []), target]);
    }
    return found;
  }
}
