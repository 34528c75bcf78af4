import type { CompactOptions, WithTarget } from "../options.ts";
import type { CompactSummary } from "../report/events.ts";
import { detach } from "./compact-detach.ts";
import { openCompact, type CompactRun } from "./compact-run.ts";
import { summariseCompact, type CompactEnding } from "./compact-summary.ts";
import { whenStopped, type CommandContext } from "./context.ts";
import { preflightRefusal } from "./preflight.ts";
import { withRsnapshotLock } from "./rsnapshot-lock.ts";

/**
 * `dedupe compact`: the periodic care of a store. What is to be done is found out and said first, then done.
 * @returns the exit code. @throws DedupeError before anything was done
 */
export function compact(options: CompactOptions, context: CommandContext): Promise<number> {
  const work = options.detach ? detach : compactTarget;
  return withRsnapshotLock(options, context, (resolved) => work(resolved, context));
}

async function compactTarget(options: WithTarget<CompactOptions>, context: CommandContext): Promise<number> {
  const started = performance.now();
  const run = await openCompact(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, `the target ${options.target}`);
  });
  let summary: CompactSummary;
  try {
    const ending = await care(run, context);
    summary = summarise(run, ending, performance.now() - started);
  } finally {
    await run.close();
  }
  context.reporter.emit(summary);
  return summary.exitCode;
}

/** Until all is done, a signal comes or the time is over; then everything is made durable. */
async function care(run: CompactRun, { stop, reporter }: CommandContext): Promise<CompactEnding> {
  const stopProgress = run.reportProgress();
  const letGo = whenStopped(stop, () => {
    run.pool.control.stop();
  });
  const limit = run.startTimeLimit();
  try {
    let isWhole = await run.compaction.plan();
    const indexes = run.options.steps.includes("index");
    if (isWhole && run.options.dryRun) {
      isWhole = await run.compaction.foresee();
      if (isWhole && indexes) await run.compactIndex();
    }
    if (isWhole) reporter.emit({ type: "compact-plan", detached: false, ...run.figures("planned") });
    if (run.options.dryRun) return endingOf(isWhole, stop);
    if (isWhole) isWhole = await run.compaction.carryOut(run.sweep());
    await run.seal();
    if (isWhole && indexes) await run.compactIndex();
    return endingOf(isWhole, stop);
  } catch (error) {
    return { type: "failed", error: error as Error };
  } finally {
    clearTimeout(limit);
    letGo();
    stopProgress();
  }
}

function endingOf(isWhole: boolean, { reason }: AbortSignal): CompactEnding {
  return isWhole ? { type: "finished" } : { type: "stopped", reason };
}

function summarise(run: CompactRun, ending: CompactEnding, elapsedMs: number): CompactSummary {
  const { pool, options, watch, compaction } = run;
  const { names, directories } = compaction.walked;
  const { readBytes } = pool.tally.sum();
  const { findings, affectedNames, leftAlone, failures, peakRssAnonBytes } = watch;
  const { objects, holders } = compaction.inStore;
  return summariseCompact(options, ending, {
    ...run.figures(options.dryRun ? "planned" : "done"),
    ...{ names, directories, objects, holders, readBytes, findings, affectedNames },
    ...{ leftAlone, failures, elapsedMs, peakRssAnonBytes },
  });
}
