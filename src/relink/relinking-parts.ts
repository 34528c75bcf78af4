import type { RelinkCounters, RelinkPhase } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import type { Unit } from "../tree/snapshots.ts";
import type { Store } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";
import type { BatchView } from "./batch-memory.ts";
import type { RelinkRules, StockFiles, ToRelinkWorker } from "./messages.ts";
import type { RelinkPool } from "./relink-pool.ts";

/** Threads that can do what a relink asks for. */
type StockPool = Pick<RelinkPool, "control" | "jobs" | "run" | "collect"> & {
  tellAll(message: ToRelinkWorker): Promise<unknown>;
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
  /** In a dry run: the inode would have another name in the store by now. */
  isLeaving?: (inoLow: number, inoHigh: number) => boolean;
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
  batchDone: (batch: BatchView, pathOf: (id: number, name: Buffer) => Buffer) => void;
};
