import { exitCodes, signalExitCodes } from "../exit-codes.ts";
import type { RelinkSummary, RunOutcome } from "../report/events.ts";
import type { StopReason } from "./context.ts";
import type { RelinkRun } from "./relink-run.ts";

/** `reason`: a StopReason, or undefined where the time limit was reached. */
export type RelinkEnding =
  { type: "finished" } | { type: "stopped"; reason: unknown } | { type: "failed"; error: Error };

export function summariseRelink(
  run: RelinkRun,
  { ending, elapsedMs }: { ending: RelinkEnding; elapsedMs: number },
): RelinkSummary {
  const { options, traits } = run;
  const counters = run.counters();
  const outcome = outcomeOf(ending, counters.failures);
  return {
    ...counters,
    type: "summary",
    command: "relink",
    outcome,
    exitCode: codeOf(ending, counters.failures),
    dryRun: options.dryRun,
    root: options.root,
    timeLimit: ending.type === "stopped" && ending.reason === undefined,
    gains: run.relinking.gains,
    linkLimit: traits.linkLimit,
    elapsedMs,
    peakRssAnonBytes: run.peakRssAnonBytes(),
    ...(ending.type === "failed" ? { error: errorOf(ending.error) } : {}),
  };
}

export function outcomeOf({ type }: RelinkEnding, failures: number): RunOutcome {
  if (type !== "finished") return type;
  return failures > 0 ? "partial" : "complete";
}

/** A time limit is what was asked for: all well, unless something could not be handled. */
export function codeOf(ending: RelinkEnding, failures: number): number {
  if (ending.type === "failed") return exitCodes.failed.code;
  if (ending.type === "stopped" && ending.reason !== undefined)
    return signalExitCodes[(ending.reason as StopReason).signal];
  return failures > 0 ? exitCodes.partial.code : exitCodes.ok.code;
}

export function errorOf(error: Error): { code: string; message: string; hint: string } {
  const code = "code" in error && typeof error.code === "string" ? error.code : "UNEXPECTED";
  if ("hint" in error && typeof error.hint === "string")
    return { code, message: error.message, hint: error.hint };
  const hint = "Mend the cause and run the same command again: every name leads to the content that it had.";
  return { code, message: error.message, hint };
}
