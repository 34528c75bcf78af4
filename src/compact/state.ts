import { InodeSet } from "../verify/inode-set.ts";
import {
  zeroWorkCounts,
  type CompactFinding,
  type CompactTold,
  type InodeList,
  type WorkCounts,
} from "./messages.ts";

/** Inodes that wait to be merged with their equals. */
export class WaitingInodes {
  #set = new InodeSet();
  #isEmpty = true;

  add(inoLow: number, inoHigh: number): void {
    this.#set.add(inoLow, inoHigh);
    this.#isEmpty = false;
  }

  /** Those that were added since; undefined for none. */
  take(): InodeSet | undefined {
    if (this.#isEmpty) return undefined;
    const taken = this.#set;
    this.#set = new InodeSet();
    this.#isEmpty = true;
    return taken;
  }
}

/** What threads have told so far. */
export class CompactState {
  readonly counts: WorkCounts = zeroWorkCounts();
  /** Inodes with a name in the store. */
  readonly known = new InodeSet();
  /** Those among them whose name is a holder's. */
  readonly holders = new InodeSet();
  /** In a dry run: those that the index would get to know. */
  readonly learned = new InodeSet();
  /** Those whose row would say that they are not what they were. */
  readonly doubted = new InodeSet();
  /** Those that are to lose theirs to a sibling. */
  readonly folding: { inoLow: number; inoHigh: number }[] = [];
  /** Those that lost theirs. */
  readonly again = new WaitingInodes();
  /** Inodes ("high:low") with other content than their object said -> that object's path. */
  #untold = new Map<string, Buffer>();
  readonly #told = new Map<string, Buffer>();
  readonly #found: (finding: CompactFinding) => void;

  constructor(found: (finding: CompactFinding) => void) {
    this.#found = found;
  }

  take(told: CompactTold): void {
    switch (told.type) {
      case "inodes":
        this.#takeInodes(told.set, told.inodes);
        return;
      case "finding":
        this.#take({ ...told.finding, path: Buffer.from(told.finding.path) });
        return;
      case "counts":
        for (const field of Object.keys(told.counts) as (keyof WorkCounts)[])
          this.counts[field] += told.counts[field];
    }
  }

  #takeInodes(list: InodeList, inodes: Uint32Array): void {
    const sets = {
      known: this.known,
      holders: this.holders,
      again: this.again,
      learned: this.learned,
      doubted: this.doubted,
    };
    for (let at = 0; at < inodes.length; at += 2) {
      const [inoLow, inoHigh] = [inodes[at] as number, inodes[at + 1] as number];
      if (list === "folding") this.folding.push({ inoLow, inoHigh });
      else sets[list].add(inoLow, inoHigh);
    }
  }

  #take(finding: CompactFinding): void {
    // What adopting met, or a repair is waited for, is met again by who reads what the index does not know.
    if (finding.inode !== undefined && (this.#untold.has(finding.inode) || this.#told.has(finding.inode)))
      return;
    if (finding.inode !== undefined) this.#untold.set(finding.inode, finding.path);
    this.#found(finding);
  }

  /** The inodes whose names are to be told next. */
  takeUntold(): string[] {
    const inodes = [...this.#untold.keys()];
    for (const [inode, path] of this.#untold) this.#told.set(inode, path);
    this.#untold = new Map();
    return inodes;
  }
  get hasUntold(): boolean {
    return this.#untold.size > 0;
  }
  /** Of which object the inode had other content. */
  objectOf(inode: string): Buffer | undefined {
    return this.#told.get(inode);
  }

  /** Names of the store went, or were changed for others. */
  get hasTakenNames(): boolean {
    const { refiled, prunedObjects, prunedHolders, foldedSiblings } = this.counts;
    return refiled + prunedObjects + prunedHolders + foldedSiblings > 0;
  }
}
