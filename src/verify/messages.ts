import type { FilterRules } from "../tree/filter.ts";
import type { ComparedAttributes, DifferenceClass } from "./compare.ts";
import type { Limits } from "./limits.ts";

/** A tree to be read. */
export type TreeRoot = {
  fd: number;
  device: number;
  /** Nothing is mounted below it: in a directory an entry's inode number is the inode's own. */
  isPlain: boolean;
};

/** What comparing, or reading one tree, goes by; plain data. */
export type TreeRules = {
  source: TreeRoot;
  /** undefined: one tree is read, for a certificate. */
  target: TreeRoot | undefined;
  limits: Limits;
  compared: ComparedAttributes;
  merge: "all" | "none";
  /** The target has a store: making it did not move the time of its root. */
  hasStore: boolean;
  filter: FilterRules | undefined;
  oneFileSystem: boolean;
};

/** What checking a store goes by. */
export type StoreRules = {
  /** -1: the directory is missing. */
  objectsFd: number;
  groupsFd: number;
  root: TreeRoot;
  compared: ComparedAttributes;
  /** How much of each object is looked at. */
  depth: "contents" | "attributes";
  /** Only objects of this slice are looked at: `number` from 1 to `of`. */
  slice: { number: number; of: number } | undefined;
};

export type WorkerSetup = {
  worker: number;
  sysModule: string;
  control: SharedArrayBuffer;
  tallies: SharedArrayBuffer;
  /** Where the ledger may have temporary files. */
  temporaryDirectory: string;
  ledger: SharedArrayBuffer | undefined;
  bwlimitBytes: number | undefined;
  verbose: boolean;
  trees: TreeRules | undefined;
  store: StoreRules | undefined;
};

/** Names of one directory of objects/ ("8e"), of groups/ ("g8e"), or of the tree. Paths are latin1. */
export type Task =
  | { type: "walk"; path: string; depth: "shallow" | "deep" }
  | { type: "objects"; directory: string }
  | { type: "groups"; directory: string }
  | { type: "names"; path: string; depth: "shallow" | "deep" }
  | { type: "known"; inodes: KnownInodes; suspects: string[] };

/** The set of the store's inodes, shared by the threads once it is whole (inode-set.ts). */
export type KnownInodes = { keys: SharedArrayBuffer; bits: SharedArrayBuffer };

export type WalkResult = {
  type: "walk";
  /** Of each tree: the directory's attributes and names, and the digests of those subdirectories that were walked. */
  sides: { attributes: Buffer; section: Buffer; subdirectories: { name: string; digest: Buffer }[] }[];
  /** Subdirectories that both trees have and that were left to others. */
  left: string[];
};

export type TaskResult =
  | WalkResult
  | { type: "inodes"; inodes: Uint32Array }
  | { type: "names"; left: string[] }
  | { type: "ready" };

/** What is not as it should be in a store. docs/cli.md, "Checking a store", explains each. */
export type StoreFindingClass =
  | "content"
  | "variant"
  | "object-type"
  | "foreign"
  | "duplicate"
  | "deleted"
  | "holder"
  | "not-private"
  | "incomplete"
  | "index-damaged"
  // Said, and no findings:
  | "new-since"
  | "index-missing";

/** How a tree differs from its certificate. */
export type CertificateFindingClass = "names" | "root-digest";

export type Finding = {
  path: Buffer;
  class: DifferenceClass | StoreFindingClass | CertificateFindingClass;
  source?: string | undefined;
  target?: string | undefined;
  name?: string | undefined;
  /**
   * Of lost holes, and of attributes that the store ignores: the target's inode, which may turn out to stand for a
   * source inode that explains them.
   */
  pending?: { device: number; inoLow: number; inoHigh: number } | undefined;
};

/** `inode`, "high:low": of an object that could not be read, as its directory has it. */
export type Failure = { path: Buffer; code: string; message: string; inode?: string };
/** A name in the snapshots of an inode ("high:low") that a finding is about, or of an object that could not be read. */
export type Affected = { path: Buffer; inode: string };
export type Looked = { path: Buffer; action: "compared" | "checked" };

export type FromWorker =
  | { type: "ready" }
  | { type: "findings"; findings: Finding[] }
  | { type: "failures"; failures: Failure[] }
  | { type: "looked"; looked: Looked[] }
  | { type: "affected"; affected: Affected[] }
  | { type: "done"; result: TaskResult }
  | { type: "stopped" }
  | { type: "fatal"; code: string; message: string };

export type ToWorker =
  { type: "setup"; setup: WorkerSetup } | { type: "task"; task: Task } | { type: "close" };
