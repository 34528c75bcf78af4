import type { Inode } from "./messages.ts";

const KEPT = 10;

/** A file that one unit alone has. */
export type Large = { inode: Inode; unit: number; bytes: number; sizeBytes: number; names: number };

/** The largest files that one unit alone holds; of equals the first by unit and inode, whatever the order. */
export class Largest {
  #kept: Large[] = [];

  offer(file: Inode & { bytes: number; sizeBytes: number; counts: readonly number[] }, unit: number): void {
    if (this.#kept.length === KEPT && file.bytes < (this.#kept.at(-1) as Large).bytes) return;
    const { device, inoHigh, inoLow, bytes, sizeBytes } = file;
    this.#kept.push({
      inode: { device, inoHigh, inoLow },
      unit,
      bytes,
      sizeBytes,
      names: file.counts[0] ?? 0,
    });
    this.#kept.sort(compare);
    this.#kept.length = Math.min(KEPT, this.#kept.length);
  }

  /** The largest first. */
  get files(): readonly Large[] {
    return this.#kept;
  }
}

function compare(a: Large, b: Large): number {
  return (
    b.bytes - a.bytes ||
    a.unit - b.unit ||
    a.inode.device - b.inode.device ||
    a.inode.inoHigh - b.inode.inoHigh ||
    a.inode.inoLow - b.inode.inoLow
  );
}
