import type { Stat } from "../sys/stat.ts";
import type { Listing } from "../tree/listing.ts";
import { pathOf } from "../work/frame.ts";
import type { Inode } from "./messages.ts";
import type { StatsThread } from "./thread.ts";
import type { Frame, Visitor } from "./walk.ts";

/** Tells the names of a few inodes. */
export class Finder implements Visitor {
  readonly #thread: StatsThread;
  readonly #wanted: ReadonlyMap<string, Inode>;

  constructor(thread: StatsThread, wanted: readonly Inode[]) {
    this.#thread = thread;
    this.#wanted = new Map(wanted.map((inode) => [keyOf(inode), inode]));
  }

  directory(): void {
    // Its names are what counts.
  }

  number({ device }: Frame, { inoHigh, inoLow }: Listing): boolean {
    return !this.#wanted.has(keyOf({ device, inoHigh, inoLow }));
  }

  inode(frame: Frame, name: Buffer, { device, inoHigh, inoLow }: Stat): void {
    const inode = this.#wanted.get(keyOf({ device, inoHigh, inoLow }));
    if (inode !== undefined) this.#thread.send({ type: "found", inode, path: pathOf(frame, name) });
  }
}

export const keyOf = ({ device, inoHigh, inoLow }: Inode): string =>
  `${String(device)}:${String(inoHigh)}:${String(inoLow)}`;
