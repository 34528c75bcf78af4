import { exitCodes, signalExitCodes } from "../exit-codes.ts";
import type { RunOutcome, Summary } from "../report/events.ts";
import type { StopSignal } from "./context.ts";
import { countSnapshots, type MigrateRun } from "./migrate-run.ts";

/** What ended the run early: a signal, or a failure of the target or source as a whole. */
export type Ending =
  { type: "finished" } | { type: "stopped"; signal: StopSignal } | { type: "failed"; error: Error };

/** What a summary tells of: a run, or a survey of one. */
export type Summarised = Pick<MigrateRun, "options" | "plan" | "tally" | "counters" | "met"> & {
  traits: Pick<MigrateRun["traits"], "linkLimit">;
  migration: Pick<MigrateRun["migration"], "heldDeletes">;
};

/** The closing report: what was done, what is left, and with which code the program ends. */
export function summarise(run: Summarised, end: { ending: Ending; elapsedMs: number }): Summary {
  const { options, plan, tally, traits } = run;
  const { states } = tally;
  const total = countSnapshots(plan);
  const counters = run.counters();
  const outcome = outcomeOf(run, end.ending);
  const reached = states.new + states.updated + states.unchanged + states.incomplete;
  return {
    ...counters,
    type: "summary",
    command: "migrate",
    outcome,
    exitCode: codeOf(outcome, end.ending),
    dryRun: options.dryRun,
    source: options.source,
    target: options.target,
    snapshots: { total, ...states, pending: total - reached },
    linkLimit: traits.linkLimit,
    elapsedMs: end.elapsedMs,
    peakRssAnonBytes: tally.peakRssAnonBytes,
    heldDeletes: run.migration.heldDeletes,
    approximate: run.met.isFull,
    ...(end.ending.type === "failed" ? { error: errorOf(end.ending.error) } : {}),
  };
}

function outcomeOf(run: Summarised, ending: Ending): RunOutcome {
  if (ending.type !== "finished") return ending.type;
  const counters = run.counters();
  const isLossy = counters.lostOwners + counters.lostTimes + counters.lostXattrs + counters.lostDevices > 0;
  const isPartial = counters.failures > 0 || run.migration.heldDeletes > 0 || (run.options.strict && isLossy);
  return isPartial ? "partial" : "complete";
}

function codeOf(outcome: RunOutcome, ending: Ending): number {
  if (ending.type === "stopped") return signalExitCodes[ending.signal];
  if (outcome === "failed") return exitCodes.failed.code;
  if (outcome === "partial") return exitCodes.partial.code;
  return exitCodes.ok.code;
}

function errorOf(error: Error): { code: string; message: string; hint: string } {
  const code = "code" in error && typeof error.code === "string" ? error.code : "UNEXPECTED";
  // A full inode table says ENOSPC, too, and df alone shows free space then.
  const cure = code === "ENOSPC" ? "Free some space or inodes (see df and df -i)" : "Mend the cause";
  const hint = `${cure} and run the same command again: what is finished is not copied again.`;
  return { code, message: error.message, hint };
}
