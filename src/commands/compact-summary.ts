import { exitCodes, signalExitCodes } from "../exit-codes.ts";
import type { CompactOptions, WithTarget } from "../options.ts";
import type { CompactFigures, CompactSummary } from "../report/events.ts";
import { isSysError } from "../sys/errors.ts";
import type { StopReason } from "./context.ts";

/** `reason`: a StopReason, or undefined where the time limit was reached. */
export type CompactEnding =
  { type: "finished" } | { type: "stopped"; reason: unknown } | { type: "failed"; error: Error };

/** What is known at the end. */
export type CompactResult = CompactFigures &
  Pick<
    CompactSummary,
    | "names"
    | "directories"
    | "objects"
    | "holders"
    | "readBytes"
    | "findings"
    | "affectedNames"
    | "leftAlone"
    | "failures"
    | "elapsedMs"
    | "peakRssAnonBytes"
  >;

export function summariseCompact(
  { target, dryRun, steps, detach }: WithTarget<CompactOptions>,
  ending: CompactEnding,
  result: CompactResult,
): CompactSummary {
  const outcome = outcomeOf(ending, result);
  return {
    ...result,
    type: "summary",
    command: "compact",
    ...{ outcome, dryRun, target, steps, detached: detach },
    exitCode: codeOf(outcome, ending, result),
    timeLimit: ending.type === "stopped" && ending.reason === undefined,
    freedBytes: result.adopt.freedBytes + result.prune.freedBytes,
    ...(ending.type === "failed" ? { error: errorOf(ending.error) } : {}),
  };
}

function outcomeOf(
  { type }: CompactEnding,
  { findings, failures }: CompactResult,
): CompactSummary["outcome"] {
  if (type !== "finished") return type;
  if (Object.keys(findings).length > 0) return "findings";
  return failures > 0 ? "partial" : "complete";
}

/** Findings and failures are said by the exit code of a run that its time limit stopped, too. */
function codeOf(
  outcome: CompactSummary["outcome"],
  ending: CompactEnding,
  { findings, failures }: CompactResult,
): number {
  switch (outcome) {
    case "findings":
      return exitCodes.findings.code;
    case "partial":
      return exitCodes.partial.code;
    case "complete":
      return exitCodes.ok.code;
    case "failed":
      return exitCodes.failed.code;
    case "stopped":
      if (ending.type === "stopped" && ending.reason !== undefined)
        return signalExitCodes[(ending.reason as StopReason).signal];
      if (Object.keys(findings).length > 0) return exitCodes.findings.code;
      return failures > 0 ? exitCodes.partial.code : exitCodes.ok.code;
  }
}

function errorOf(error: Error): { code: string; message: string; hint: string } {
  const code = "code" in error && typeof error.code === "string" ? error.code : "UNEXPECTED";
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  const cure = isFull
    ? "Free some space (compact --steps prune needs none), or keep the index elsewhere (--index DIR),"
    : "Mend the cause";
  const hint = `${cure} and run the same command again: every name leads to the content that it had.`;
  return { code, message: isSysError(error) ? error.sentence : error.message, hint };
}
