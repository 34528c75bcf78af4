import type { RelinkTask } from "../relink/messages.ts";

/** Records of a scratch file (attention.ts). */
type Range = { recordsFd: number; first: number; count: number };

/** What threads do besides what a relink does. */
export type OwnTask =
  /** Directories of objects/ and groups/. "links": only link counts are looked at. */
  | { type: "scan"; objects: string[]; groups: string[]; looksAt: "everything" | "links"; prunes: boolean }
  /** Reads what was moved or is not known, and decides. */
  | ({ type: "examine"; recordsRows: boolean } & Range)
  /** Carries out decisions. */
  | ({ type: "move"; prunes: boolean } & Range)
  | ({ type: "prune" } & Range)
  | ({ type: "fold" } & Range & { linkLimit: number; isDryRun: boolean });
export type CompactTask = RelinkTask | OwnTask;

/** What is not as it should be; docs/cli.md, "Compacting", explains each. */
export type CompactFindingClass = "content" | "foreign" | "object-type" | "leftover";

export type CompactFinding = {
  path: Buffer;
  class: CompactFindingClass;
  source?: string;
  target?: string;
  /** "high:low": its names in the snapshots are to be told. */
  inode?: string;
};

/** What threads have done since they told last. */
export type WorkCounts = {
  objects: number;
  holders: number;
  /** Objects whose content was read again. */
  readObjects: number;
  /** Decided: objects that are to be named by what they are now. */
  toRefile: number;
  refiled: number;
  /** Sound objects that the index did not know. */
  indexed: number;
  /** Of what has no other name. */
  unnamedObjects: number;
  unnamedHolders: number;
  unnamedBytes: number;
  prunedObjects: number;
  prunedHolders: number;
  prunedBytes: number;
  /** Planned: siblings that are to give way to another one. */
  toFold: number;
  foldedSiblings: number;
};

export const zeroWorkCounts = (): WorkCounts => ({
  objects: 0,
  holders: 0,
  readObjects: 0,
  toRefile: 0,
  refiled: 0,
  indexed: 0,
  unnamedObjects: 0,
  unnamedHolders: 0,
  unnamedBytes: 0,
  prunedObjects: 0,
  prunedHolders: 0,
  prunedBytes: 0,
  toFold: 0,
  foldedSiblings: 0,
});

export type InodeList = "known" | "holders" | "again" | "folding" | "learned" | "doubted";

export type CompactTold =
  /**
   * Low and high words. "holders": those of "known" whose name is in groups/. "again": they have no name in the store any more, and are to be merged with their equals.
   * "folding": as planned, they will be among these. "learned": in a dry run, the index would get to know them;
   * "doubted": it would remember that they lost what they were.
   */
  | { type: "inodes"; set: InodeList; inodes: Uint32Array }
  | { type: "finding"; finding: CompactFinding }
  | { type: "counts"; counts: WorkCounts };
