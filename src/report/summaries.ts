/** What a run counts while it is at work, and what it says of itself at its end. Sizes are bytes, durations milliseconds. */

/** Counters that only grow during a run; the same object shape serves progress and summary. */
export type Counters = {
  /** Names seen in the source: directories, files, symlinks and specials alike. */
  names: number;
  directories: number;
  /** Source inodes other than directories, each counted once. */
  inodes: number;
  /** Sum of st_size over the unique source inodes of regular files. */
  contentBytes: number;
  /** What a copy without hard links would write: st_size summed over every name of a regular file. */
  plainCopyBytes: number;
  /** Bytes read from the source. */
  readBytes: number;
  /** Bytes of content written to the target (holes are not written). */
  writtenBytes: number;
  /** Inodes created on the target, directories not counted. */
  createdInodes: number;
  /** Names made on the target by linking to an inode that was there already. */
  linkedNames: number;
  /** Source inodes that share a target inode with another source inode, and the bytes this saved. */
  mergedInodes: number;
  mergedBytes: number;
  /** Further shared inodes opened because the filesystem's link limit was near. */
  siblings: number;
  /** Names removed from the target by --delete. */
  deletedNames: number;
  /** Names removed from the source by --remove-source-files. */
  removedSourceNames: number;
  /** Entries that could not be handled; each has had its own `failure` event. */
  failures: number;
  /** Attributes an ordinary user or the target filesystem could not keep, by kind. */
  lostOwners: number;
  lostTimes: number;
  lostXattrs: number;
  lostDevices: number;
};

export type SnapshotState = "new" | "updated" | "unchanged" | "incomplete";

export type RunOutcome = "complete" | "partial" | "failed" | "stopped";

export type Summary = Counters & {
  type: "summary";
  command: "migrate";
  outcome: RunOutcome;
  exitCode: number;
  dryRun: boolean;
  source: string;
  target: string;
  /** Snapshots, and other directories beside them, by what became of them. */
  snapshots: {
    total: number;
    new: number;
    updated: number;
    unchanged: number;
    incomplete: number;
    pending: number;
  };
  /** The next sibling limit the filesystem imposes, 0 where none was met. */
  linkLimit: number;
  elapsedMs: number;
  peakRssAnonBytes: number;
  /** Removals, of a name with all that is below it, that --max-delete did not allow. */
  heldDeletes: number;
  /** More inodes than can be told apart: some are counted twice in inodes, contentBytes, mergedInodes and mergedBytes. */
  approximate: boolean;
  /** Set when the run ended early: one sentence, and what to do next. */
  error?: { code: string; message: string; hint?: string };
};

/** What `dedupe verify` found. Counts of names and inodes are of the source; with no source, of the target. */
export type VerifySummary = {
  type: "summary";
  command: "verify";
  /** store: a store was checked. against: two trees were compared. certificate: a tree was compared with one. */
  mode: "store" | "against" | "certificate";
  outcome: "sound" | "repaired" | "findings" | "partial" | "failed" | "stopped";
  exitCode: number;
  target: string;
  source?: string;
  names: number;
  targetNames: number;
  directories: number;
  inodes: number;
  targetInodes: number;
  contentBytes: number;
  readBytes: number;
  /** Source inodes that share a target inode with another one that equals them. */
  mergedInodes: number;
  objects: number;
  /** Objects that no name in a snapshot has. */
  unnamedObjects: number;
  /** Names in the snapshots that are an inode of the store. */
  knownNames: number;
  /** Names in the snapshots of inodes that findings are about. */
  affectedNames: number;
  failures: number;
  /** What is not as it should be, and what is worth a word, by class. */
  findings: Record<string, number>;
  notes: Record<string, number>;
  slice?: { number: number; of: number };
  quick?: boolean;
  /** With --repair: objects put right, the names in the snapshots that got another inode, what was written. */
  repaired?: { objects: number; names: number; bytes: number };
  unrepaired?: number;
  /** In hex, of each tree. */
  rootDigest?: { source?: string; target?: string };
  /** Where the certificate was written. */
  certificate?: string;
  elapsedMs: number;
  peakRssAnonBytes: number;
  error?: { code: string; message: string; hint?: string };
};

/** What a relink counts. Inodes are those of regular files that are not empty. */
export type RelinkCounters = {
  /** Names looked at, of every type, and the directories among them. */
  names: number;
  directories: number;
  /** Inodes met, and what they take: st_blocks, each inode counted once. */
  inodes: number;
  bytes: number;
  /** Read from the tree, and inodes that were. */
  readBytes: number;
  readInodes: number;
  /** Inodes that were not read: none other has their size and attributes. */
  aloneInodes: number;
  /** Names that lead to another inode now. */
  linkedNames: number;
  /** Inodes whose last name went, and what they took. */
  mergedInodes: number;
  freedBytes: number;
  /** Inodes that lost all names below the root and have others outside: they free nothing. */
  outsideInodes: number;
  /** Inodes reached by more names than they have (a mount inside the root): left alone. */
  twiceInodes: number;
  /** Directories on another filesystem or behind a mount: left alone. */
  foreignDirectories: number;
  /** Inodes kept apart from their equals because the filesystem's link limit was near. */
  siblings: number;
  /** Objects of the store that were made or used. */
  objects: number;
  failures: number;
};

/** What an option would merge in addition: of what was read, and at most of what was not. */
export type Gain = { inodes: number; bytes: number; unreadInodes: number; unreadBytes: number };
export type Gains = Partial<Record<"time" | "mode" | "owner" | "xattrs" | "all", Gain>>;

/** What `relink --undo` counts. */
export type UndoCounters = {
  /** Names whose attributes the log has. */
  loggedNames: number;
  /** Names that have their own again. */
  restoredNames: number;
  /** Those that lead elsewhere by now, or are gone. */
  otherNames: number;
  /** Inodes whose attributes were set, all their names being to have the same. */
  changedInodes: number;
  /** Inodes made for names that differ from the others, and their content. */
  createdInodes: number;
  writtenBytes: number;
  failures: number;
};

/** Has `restoredNames`, which tells it from a relink's. */
export type UndoSummary = UndoCounters & {
  type: "summary";
  command: "relink";
  outcome: RunOutcome;
  exitCode: number;
  dryRun: boolean;
  root: string;
  elapsedMs: number;
  peakRssAnonBytes: number;
  error?: { code: string; message: string; hint?: string };
};

export type RelinkPhase = "stock" | "read" | "link";

export type RelinkSummary = RelinkCounters & {
  type: "summary";
  command: "relink";
  outcome: RunOutcome;
  exitCode: number;
  dryRun: boolean;
  root: string;
  /** It was --time-limit that stopped it. */
  timeLimit: boolean;
  /** By the attribute that would be ignored; "all": all of them. */
  gains: Gains;
  linkLimit: number;
  elapsedMs: number;
  peakRssAnonBytes: number;
  error?: { code: string; message: string; hint?: string };
};

/** What `dedupe stats` counted. Bytes are what is taken on the disk (st_blocks), where nothing else is said. */
export type StatsSummary = {
  type: "summary";
  command: "stats";
  outcome: RunOutcome;
  exitCode: number;
  target: string;
  snapshots: number;
  /** Names below the target but those of the store. */
  names: number;
  directories: number;
  /** Inodes other than directories, each counted once. */
  inodes: number;
  /** What they and the directories take. */
  bytes: number;
  /** Of regular files: st_size, each inode counted once; and each name. */
  contentBytes: number;
  plainBytes: number;
  /** In only one snapshot each: the sum over all rows. */
  aloneBytes: number;
  /** Whether the store could be read. */
  store: "read" | "missing" | "hidden";
  /** By which rules it was made, where that is known: what a relink of this target has to be given. */
  merge?: "all" | "none";
  ignored?: readonly ("time" | "mode" | "owner" | "xattrs")[];
  objects: number;
  siblings: number;
  /** Objects that no name outside the store has, and what they take: what is freed by compaction. */
  unnamedObjects: number;
  unnamedBytes: number;
  /** What the store takes besides: its directories, index, log, and what is being built. */
  storeBytes: number;
  /** Inodes that have names outside the target, too. */
  elsewhereInodes: number;
  elsewhereBytes: number;
  /** Inodes reached by more names than they have, through a mount. */
  twiceInodes: number;
  /** Whether the index could be read, and then what it knows. */
  index: "read" | "missing" | "damaged" | "locked";
  /** Source inodes that the index knows to have become one that is here. */
  indexedInodes: number;
  /** Those of them that share it with another one, and their sizes. */
  mergedInodes: number;
  mergedBytes: number;
  /** What deleting the snapshots of --if-deleted frees. */
  ifDeleted?: { sets: string[]; snapshots: number; names: number; inodes: number; bytes: number };
  /** The filesystem's limit of links to one inode, 0 if none is known; the most that one has here. */
  linkLimit: number;
  mostLinks: number;
  /** Inodes that the next snapshot may bring to the limit. */
  nearLimitInodes: number;
  /** Snapshots that share almost nothing with the one made before them. */
  brokenChains: number;
  failures: number;
  elapsedMs: number;
  peakRssAnonBytes: number;
  error?: { code: string; message: string; hint?: string };
};

export const zeroCounters = (): Counters => ({
  names: 0,
  directories: 0,
  inodes: 0,
  contentBytes: 0,
  plainCopyBytes: 0,
  readBytes: 0,
  writtenBytes: 0,
  createdInodes: 0,
  linkedNames: 0,
  mergedInodes: 0,
  mergedBytes: 0,
  siblings: 0,
  deletedNames: 0,
  removedSourceNames: 0,
  failures: 0,
  lostOwners: 0,
  lostTimes: 0,
  lostXattrs: 0,
  lostDevices: 0,
});

export const zeroRelinkCounters = (): RelinkCounters => ({
  names: 0,
  directories: 0,
  inodes: 0,
  bytes: 0,
  readBytes: 0,
  readInodes: 0,
  aloneInodes: 0,
  linkedNames: 0,
  mergedInodes: 0,
  freedBytes: 0,
  outsideInodes: 0,
  twiceInodes: 0,
  foreignDirectories: 0,
  siblings: 0,
  objects: 0,
  failures: 0,
});

export const zeroUndoCounters = (): UndoCounters => ({
  loggedNames: 0,
  restoredNames: 0,
  otherNames: 0,
  changedInodes: 0,
  createdInodes: 0,
  writtenBytes: 0,
  failures: 0,
});
