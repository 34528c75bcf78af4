import type { RelinkThread } from "../relink/relink-thread.ts";
import { objectPath } from "./object-path.ts";
import { zeroWorkCounts, type CompactFinding, type CompactTold, type InodeList } from "./messages.ts";

/** What a thread has to tell the main thread. */
export class Teller {
  counts = zeroWorkCounts();
  readonly #thread: RelinkThread;
  #inodes: Record<InodeList, number[]> = noInodes();

  constructor(thread: RelinkThread) {
    this.#thread = thread;
  }

  tell(told: CompactTold): void {
    this.#thread.give({ type: "told", told });
  }

  finding(finding: CompactFinding): void {
    this.tell({ type: "finding", finding });
  }

  /** The object `thread.ref`, whose inode is in `thread.stat`, has another content, or none. */
  damaged(digest: Buffer | undefined): void {
    const { ref, stat } = this.#thread;
    const values = {
      source: Buffer.from(ref.digest).toString("hex"),
      target: digest === undefined ? "empty file" : digest.toString("hex"),
    };
    this.finding({
      path: objectPath(ref),
      class: "content",
      ...(ref.kind === "object" ? values : { source: "empty file" }),
      inode: `${String(stat.inoHigh)}:${String(stat.inoLow)}`,
    });
  }

  /** The inode has a name in the store. */
  known(inoLow: number, inoHigh: number): void {
    this.#inodes.known.push(inoLow, inoHigh);
  }

  /** It is one of those in groups/. */
  holder(inoLow: number, inoHigh: number): void {
    this.#inodes.holders.push(inoLow, inoHigh);
  }

  /** The inode has lost its name in the store, and has others. */
  again(inoLow: number, inoHigh: number): void {
    this.#inodes.again.push(inoLow, inoHigh);
  }

  /** As planned the inode is to lose it. */
  folding(inoLow: number, inoHigh: number): void {
    this.#inodes.folding.push(inoLow, inoHigh);
  }

  /** In a dry run: the index would get to know the inode. */
  learned(inoLow: number, inoHigh: number): void {
    this.#inodes.learned.push(inoLow, inoHigh);
  }

  /** In a dry run: its row would say that its content is lost. */
  doubted(inoLow: number, inoHigh: number): void {
    this.#inodes.doubted.push(inoLow, inoHigh);
  }

  flush(): void {
    for (const set of ["known", "holders", "again", "folding", "learned", "doubted"] as const) {
      const inodes = this.#inodes[set];
      if (inodes.length > 0) this.tell({ type: "inodes", set, inodes: new Uint32Array(inodes) });
    }
    this.#inodes = noInodes();
    this.tell({ type: "counts", counts: this.counts });
    this.counts = zeroWorkCounts();
  }
}

const noInodes = (): Record<InodeList, number[]> => ({
  known: [],
  holders: [],
  again: [],
  folding: [],
  learned: [],
  doubted: [],
});
