import type { RelinkCounters, RelinkPhase } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import type { Unit } from "../tree/snapshots.ts";
import type { Ref, Store } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";
import type { BatchView } from "./batch-memory.ts";
import type { KnownObject } from "./batch-planner.ts";
import type { RelinkRules, StockFiles, ToRelinkWorker } from "./messages.ts";
import type { RelinkPool } from "./relink-pool.ts";

/** Threads that can do what a relink asks for. */
type StockPool = Pick<RelinkPool, "control" | "jobs" | "run" | "collect"> & {
  tellAll(message: ToRelinkWorker): Promise<unknown>;
};

/** Names of the store that steps before this one would have given and taken. */
export type NamesAhead = {
  /** The inode would not have the name any more under which it is found. */
  isLeaving(inoLow: number, inoHigh: number): boolean;
  /** Who would have the name instead. */
  arrivalAt(ref: Ref): KnownObject | undefined;
};

/** What a relink is made of, and whom it tells. */
export type RelinkingParts = {
  kernel: Kernel;
  pool: StockPool;
  files: StockFiles;
  rules: RelinkRules;
  rootFd: number;
  stockFd: number;
  units: readonly Unit[];
  full: boolean;
  /** What is read is recorded from the beginning: the run will be cut short. */
  recordsAtOnce: boolean;
  linkLimit: number;
  /** Where objects are looked for; -1 for none. */
  objectsFd: number;
  /** In a dry run: what the store's names would be by now. */
  ahead?: NamesAhead | undefined;
  /** Undefined in a dry run, and until there is room. */
  store: Store | undefined;
  /** On a disk without room for a store: to be called once there may be some. */
  openStore: (() => Promise<Store>) | undefined;
  failed: (failure: Failure) => void;
  counters: RelinkCounters;
  perUnit: { names: Float64Array; freedBytes: Float64Array };
  freeBytes: () => number;
  phase: (phase: RelinkPhase, total: number) => void;
  /** A name was replaced before there was a store. */
  nameDone?: (path: Buffer) => void;
  /** In a dry run: how many names of the store each inode would have lost by now. */
  lostNames?: number;
  batchDone: (batch: BatchView, pathOf: (id: number, name: Buffer) => Buffer) => void;
};
