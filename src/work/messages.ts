import type { Compared } from "../options.ts";
import type { StoreShared } from "../../store/store.ts";
import type { FilterRules } from "../tree/filter.ts";
import type { TargetTraits } from "../tree/traits.ts";
import type { Loan } from "./lent-entries.ts";

/** Everything a worker needs for its whole life; plain data, cloned to the thread. */
export type WorkerSetup = {
  worker: number;
  sysModule: string;
  store: StoreShared;
  control: SharedArrayBuffer;
  counters: SharedArrayBuffer;
  traits: TargetTraits;
  rules: WorkRules;
};

export type WorkRules = {
  compared: Compared;
  merge: "all" | "none";
  minSizeBytes: number;
  maxSizeBytes: number;
  checksum: boolean;
  oneFileSystem: boolean;
  xattrs: boolean;
  delete: boolean;
  removeSourceFiles: boolean;
  verbose: boolean;
  bwlimitBytes: number | undefined;
  filter: FilterRules | undefined;
  /** Wall clock at the start of the run, in seconds: what is younger is looked at name by name. */
  startSeconds: number;
  /** A mount point that is not a directory lies in the source: then no d_ino may be trusted. */
  hasFileMounts: boolean;
  /** Keeps groups of filesystems without a lasting identity from outliving the run. */
  runSalt: Buffer;
  /** st_dev of the target, for FICLONE. */
  targetDevice: number;
};

/**
 * fill: into a fresh directory. refill: into one that an earlier run began. update: a published directory is
 * compared, and what differs is staged. loose: as update, for the entries of a container alone (not for its
 * subdirectories, which are units of their own).
 */
export type WalkMode = "fill" | "refill" | "update" | "loose";

/** A subtree. The worker owns the descriptors from now on. */
export type Task = {
  type: "task";
  /** Position of the unit in the plan. */
  unit: number;
  mode: WalkMode;
  sourceFd: number;
  targetFd: number;
  /** Where actions of an update are appended (see actions.ts); the unit's owner closes it. */
  actionsFd: number;
  /** Of the directory, relative to the source's root. */
  path: Buffer;
  /** As in Frame. */
  isPlain: boolean;
  /** Given away: the directory's own entries are done, only these subdirectories are left. */
  subdirectories?: Buffer[];
  /** Lent: nothing but these entries of the directory. */
  loan?: Loan;
  /** st_dev of the parent, for --one-file-system and lost+found; -1 for none. */
  parentDevice: number;
};

export type Failure = { path: Buffer; code: string; message: string };
export type EntryAction = "directory" | "copied" | "linked" | "made" | "replaced" | "removed";

/** Directories whose mode would have locked this user out: set after publishing. */
export type LateMode = { path: Buffer; mode: number };

/**
 * stopped: cut short. withheld: through, but what an earlier run staged is still there and was not compared: the unit
 * must not be published with it (P2).
 */
export type TaskOutcome = "done" | "withheld" | "stopped";

export type FromWorker =
  | { type: "ready" }
  | { type: "given"; task: Task }
  | { type: "entries"; entries: { path: Buffer; action: EntryAction }[] }
  | { type: "failures"; unit: number; failures: Failure[] }
  | { type: "late-modes"; unit: number; modes: LateMode[] }
  | { type: "done"; unit: number; outcome: TaskOutcome; names: number }
  | { type: "fatal"; code: string; message: string };

export type ToWorker = { type: "setup"; setup: WorkerSetup } | Task | { type: "close" };
