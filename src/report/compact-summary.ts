import type { RunOutcome } from "./summaries.ts";

export type CompactStep = "sweep" | "adopt" | "refile" | "prune" | "fold" | "index";

/** What each step of a compact is to do, or did. */
export type CompactFigures = {
  /** Names that dead runs left, and snapshots that a migration has not finished (which stay, unless they are forgotten). */
  sweep: { leftovers: number; unfinished: number };
  /** Inodes without a name in the store; what became of them and of those that were merged again. */
  adopt: {
    inodes: number;
    bytes: number;
    objects: number;
    linkedNames: number;
    mergedInodes: number;
    freedBytes: number;
    siblings: number;
  };
  /** Objects under a name that is not theirs any more. */
  refile: { objects: number };
  /** Objects and holders without another name, and what they take. */
  prune: { objects: number; holders: number; freedBytes: number };
  /** Siblings that give way to another one. */
  fold: { siblings: number };
  /** `unknown`: sound objects that the index did not know. Bytes are its size; equal where it stays as it is. */
  index: { unknown: number; rows: number; droppedRows: number; bytesBefore: number; bytesAfter: number };
};

export type CompactSummary = CompactFigures & {
  type: "summary";
  command: "compact";
  outcome: RunOutcome | "findings";
  exitCode: number;
  dryRun: boolean;
  target: string;
  /** The store was taken away. */
  detached: boolean;
  /** Steps that were asked for. */
  steps: CompactStep[];
  /** It was --time-limit that stopped it. */
  timeLimit: boolean;
  /** Names in the snapshots, and the directories among them. */
  names: number;
  directories: number;
  /** Of the store. */
  objects: number;
  holders: number;
  readBytes: number;
  /** In all. */
  freedBytes: number;
  /** By class. */
  findings: Record<string, number>;
  /** Names in the snapshots that findings were told of. */
  affectedNames: number;
  /** Names that others changed, replaced or had open for writing meanwhile. */
  leftAlone: number;
  failures: number;
  elapsedMs: number;
  peakRssAnonBytes: number;
  error?: { code: string; message: string; hint?: string };
};

/** What a compact counts while it is at work. */
export type CompactCounters = { names: number; objects: number; readBytes: number; freedBytes: number };
