/**
 * What a command tells whoever listens. A reporter turns events into text, JSON Lines or a progress bar;
 * commands emit them and never print. Paths are bytes, relative to the root they belong to: a Linux name need
 * not be UTF-8. Sizes are bytes, durations milliseconds.
 */

import type { CompactCounters, CompactFigures, CompactStep, CompactSummary } from "./compact-summary.ts";
import type {
  Counters,
  SnapshotState,
  Summary,
  VerifySummary,
  RelinkCounters,
  UndoSummary,
  RelinkPhase,
  RelinkSummary,
  StatsSummary,
} from "./summaries.ts";

export type { CompactCounters, CompactFigures, CompactStep, CompactSummary } from "./compact-summary.ts";
export type {
  Counters,
  SnapshotState,
  RunOutcome,
  Summary,
  VerifySummary,
  RelinkCounters,
  Gain,
  Gains,
  UndoCounters,
  UndoSummary,
  RelinkPhase,
  RelinkSummary,
  StatsSummary,
} from "./summaries.ts";
export { zeroCounters, zeroRelinkCounters, zeroUndoCounters } from "./summaries.ts";

export type Event =
  | { type: "start"; command: "stats"; version: string; target: string; jobs: number; dryRun: false }
  /** What a snapshot, or what lies beside the snapshots of a directory (loose), holds; at the end. */
  | {
      type: "holding";
      path: Buffer;
      kind: "snapshot" | "directory" | "loose";
      names: number;
      directories: number;
      inodes: number;
      /** On the disk; of that, what only it holds, and what it shares. */
      bytes: number;
      aloneBytes: number;
      sharedBytes: number;
      aloneInodes: number;
      /** Of regular files: st_size, each name counted. */
      plainBytes: number;
      isInSet: boolean;
    }
  /** One of the largest files that only one snapshot holds. */
  | { type: "largest"; path: Buffer; snapshot: Buffer; bytes: number; sizeBytes: number; names: number }
  /** A snapshot that shares almost nothing with the one made before it. Of regular files with content. */
  | {
      type: "broken-chain";
      path: Buffer;
      neighbour: Buffer;
      inodes: number;
      sharedInodes: number;
      sharedBytes: number;
    }
  | StatsSummary
  | {
      type: "start";
      command: "compact";
      version: string;
      target: string;
      jobs: number;
      dryRun: boolean;
    }
  /** What is to be done, before anything is; `detached`: the store is to go. */
  | ({ type: "compact-plan"; detached: boolean } & CompactFigures)
  | {
      type: "compact-progress";
      step: CompactStep | "look";
      counters: CompactCounters;
      elapsedMs: number;
    }
  | CompactSummary
  | {
      type: "start";
      command: "verify";
      version: string;
      target: string;
      source?: string;
      jobs: number;
      dryRun: false;
    }
  /** Something is not as it should be (`isFinding`), or is worth a word. `source` and `target`: what it is in each. */
  | {
      type: "finding";
      path: Buffer;
      class: string;
      isFinding: boolean;
      name?: Buffer;
      source?: string | Buffer;
      target?: string | Buffer;
    }
  /** A name in a snapshot of an inode that a finding is about; `object`: that finding's path. */
  | { type: "affected"; path: Buffer; object?: Buffer }
  /** Put right: `from` is where its content came from, or the name that it has now. */
  | { type: "repaired"; path: Buffer; how: "restored" | "renamed"; from: Buffer; names: number }
  /** What could not be put right; its names follow as affected. */
  | { type: "unrepaired"; path: Buffer; code: string; message: string }
  | VerifySummary
  | {
      type: "start";
      command: "migrate";
      version: string;
      source: string;
      target: string;
      jobs: number;
      dryRun: boolean;
    }
  | { type: "start"; command: "relink"; version: string; root: string; jobs: number; dryRun: boolean }
  /** Something the user should know once: `code` is stable for scripts, `message` one sentence. */
  | { type: "notice"; level: "info" | "warning"; code: string; message: string }
  | { type: "plan"; snapshots: number }
  /** Unit k of n was published or found unchanged. */
  | {
      type: "snapshot";
      path: Buffer;
      state: SnapshotState;
      index: number;
      total: number;
      names: number;
      failures: number;
    }
  /** The names of a container that are in no snapshot, if it has any. */
  | { type: "loose"; path: Buffer; state: SnapshotState; names: number; failures: number }
  /** Emitted every 200 ms or so; `snapshot` is the unit most recently begun. */
  | {
      type: "progress";
      counters: Counters;
      snapshotsDone: number;
      snapshotsTotal: number;
      snapshot: Buffer;
      elapsedMs: number;
      /** What is counted in place of snapshots. */
      unit?: string;
    }
  /** Names of a snapshot that were replaced, and what went with their last names; at the end. */
  | { type: "relinked"; path: Buffer; names: number; freedBytes: number }
  /** `total` is 0 where it is not known: inodes in the phase "read". */
  | {
      type: "relink-progress";
      phase: RelinkPhase;
      counters: RelinkCounters;
      done: number;
      total: number;
      elapsedMs: number;
    }
  /** One name, with -v. */
  | {
      type: "entry";
      path: Buffer;
      action:
        | "directory"
        | "copied"
        | "linked"
        | "made"
        | "replaced"
        | "removed"
        | "compared"
        | "checked"
        | "counted";
    }
  /** One entry that could not be handled. `code` is an errno name or a code of this program. */
  | { type: "failure"; path: Buffer; code: string; message: string }
  /** The run ended by an error that left no summary: refused before it began, or a bug (code "bug"). */
  | { type: "error"; code: string; message: string; hint?: string; exitCode: number }
  | Summary
  | RelinkSummary
  | UndoSummary;

/** Takes events in the order they happen; `close` flushes and resolves when everything is written. */
export type Reporter = {
  emit(event: Event): void;
  close(): Promise<void>;
};
