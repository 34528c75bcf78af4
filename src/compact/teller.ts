import type { RelinkThread } from "../relink/relink-thread.ts";
import { objectPath } from "./object-path.ts";
import { zeroWorkCounts, type CompactFinding, type CompactTold } from "./messages.ts";

/** What a thread has to tell the main thread. */
export class Teller {
  counts = zeroWorkCounts();
  readonly #thread: RelinkThread;
  #again: number[] = [];

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

  /** The inode has lost its name in the store, and has others. */
  again(inoLow: number, inoHigh: number): void {
    this.#again.push(inoLow, inoHigh);
  }

  flush(): void {
    if (this.#again.length > 0)
      this.tell({ type: "inodes", set: "again", inodes: Uint32Array.from(this.#again) });
    this.#again = [];
    this.tell({ type: "counts", counts: this.counts });
    this.counts = zeroWorkCounts();
    this.#thread.flush();
  }
}
