import type { Run } from "../relink/sorter.ts";
import type { FromThread } from "../work/task-pool.ts";

/** Plain data, cloned to each thread. */
export type CountRules = {
  /** Wall clock at the start of the run, in seconds: what is younger is looked at name by name. */
  startSeconds: number;
  hasFileMounts: boolean;
  /** Each directory is told. */
  verbose: boolean;
  /** Units of the plan. */
  units: number;
};

export type StatsSetup = {
  worker: number;
  sysModule: string;
  control: SharedArrayBuffer;
  /** COUNT_COLUMNS for each unit, a row a thread. */
  counts: SharedArrayBuffer;
  rootFd: number;
  /** Scratch files of this thread. */
  namesFd: number;
  factsFd: number;
  rules: CountRules;
};

export type Inode = { device: number; inoHigh: number; inoLow: number };

export type WalkTask = {
  type: "count" | "find";
  unit: number;
  path: Buffer;
  /** loose: the names of the directory that are no directories. rest: all but the store's objects and holders. */
  extent: "whole" | "loose" | "rest";
  /** Given away: only these are left. */
  subdirectories: Buffer[] | undefined;
  /** What is looked for. */
  wanted: Inode[];
};

export type ToStatsWorker =
  { type: "setup"; setup: StatsSetup } | { type: "collect" } | { type: "close" } | WalkTask;

export type FromStatsWorker =
  | FromThread<ToStatsWorker>
  | { type: "collected"; names: Run[]; facts: Run[] }
  | { type: "looked"; paths: Buffer[] }
  | { type: "found"; inode: Inode; path: Buffer };
