import type { Compared } from "../options.ts";
import type { FilterRules } from "../tree/filter.ts";
import type { StoreShared } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";
import type { BatchMemory } from "./batch-memory.ts";
import type { Run } from "./sorter.ts";

/** What does not change while a relink runs; plain data, cloned to each thread. */
export type RelinkRules = {
  compared: Compared;
  /** "none": an inode gets an object of its own, and no name is given another inode. */
  merge: "all" | "none";
  minSizeBytes: number;
  maxSizeBytes: number;
  bwlimitBytes: number | undefined;
  oneFileSystem: boolean;
  filter: FilterRules | undefined;
  /** st_dev of the root: no hard link leads out of its filesystem. */
  device: number;
  /** Its lasting identity. */
  identity: Buffer;
  /** Paths below the root where something is mounted, as Latin-1. */
  mountPoints: string[];
};

/** Scratch files of the stock; those of several numbers have one for each thread. */
export type StockFiles = {
  directoriesFd: number;
  heapFds: number[];
  /** Runs of names, then of inodes that were read. */
  sortFds: number[];
  candidatesFd: number;
};

export type RelinkSetup = {
  worker: number;
  sysModule: string;
  control: SharedArrayBuffer;
  tally: SharedArrayBuffer;
  rootFd: number;
  files: StockFiles;
  rules: RelinkRules;
};

/** A subtree, or what is left of it. `directory` is -1 until it was entered. */
export type WalkTask = {
  type: "walk";
  unit: number;
  path: Buffer;
  directory: number;
  /** Only the names in it, not its subdirectories. */
  isLoose: boolean;
  subdirectories: Buffer[] | undefined;
};

/** Directories of the store that a batch is carried out with. */
export type BatchStore = { objectsFd: number; tmpFd: number; logFd: number };

export type RelinkTask =
  | WalkTask
  /** Candidates to be read, by their position in the file. */
  | { type: "read"; first: number; count: number; recordsRows: boolean; placesFd: number }
  /** Targets of the batch. */
  | { type: "adopt"; first: number; count: number; batch: BatchMemory }
  /** Directories of the batch. */
  | {
      type: "prepare" | "replace";
      first: number;
      count: number;
      batch: BatchMemory;
      store: BatchStore;
      undo: number | undefined;
      log: string;
    };

/** A set of inodes that threads share (inode-set.ts). */
export type SharedInodes = { keys: SharedArrayBuffer; bits: SharedArrayBuffer };

/** What of a tree is taken down, where that is not all of it. */
export type StockChoice = {
  /** Inodes that are known: their names are passed over without a look at them. */
  known: SharedInodes;
  /** Inodes that are taken down all the same. */
  again: SharedInodes;
  /** "again": only those. */
  takes: "new" | "again";
  /** false: the filter does not hold. */
  isFiltered: boolean;
  /** Inodes ("high:low") whose names are told. */
  told: string[];
  /** d_ino is st_ino on the root's filesystem. */
  trustsDirentIno: boolean;
};

/** `Task`: what these threads can do; those of a relink do a `RelinkTask`. */
export type ToRelinkWorker<Task = RelinkTask> =
  | { type: "setup"; setup: RelinkSetup }
  | { type: "store"; store: StoreShared }
  | { type: "choice"; choice: StockChoice }
  | { type: "collect" }
  | { type: "close" }
  | { type: "task"; task: Task };

/** `Told`: what threads have to say beyond what these do. */
export type FromRelinkWorker<Told = never> =
  | { type: "ready" }
  | { type: "given"; task: WalkTask }
  | { type: "failures"; failures: Failure[] }
  | { type: "collected"; runs: Run[] }
  /** A name of an inode that was to be told. */
  | { type: "met"; path: Buffer; inode: string }
  | { type: "told"; told: Told }
  | { type: "done" }
  | { type: "stopped" }
  | { type: "fatal"; code: string; message: string };
