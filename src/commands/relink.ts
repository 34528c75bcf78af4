import type { RelinkOptions } from "../options.ts";
import type { RelinkSummary } from "../report/events.ts";
import { whenStopped, type CommandContext } from "./context.ts";
import { preflightRefusal } from "./preflight.ts";
import { openRelink, type RelinkRun } from "./relink-run.ts";
import { undoRelink } from "./relink-undo.ts";
import { summariseRelink, type RelinkEnding } from "./relink-summary.ts";

/**
 * `dedupe relink`: identical inodes of a tree become one, in place.
 * @returns the exit code. @throws DedupeError before anything was done
 */
export async function relink(options: RelinkOptions, context: CommandContext): Promise<number> {
  if (options.undo) {
    return undoRelink(options, context).catch((error: unknown) => {
      throw preflightRefusal(error, `the root ${options.root}`);
    });
  }
  const started = performance.now();
  const run = await openRelink(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, `the root ${options.root}`);
  });
  let summary: RelinkSummary;
  try {
    const ending = await heal(run, context);
    summary = summariseRelink(run, { ending, elapsedMs: performance.now() - started });
  } finally {
    await run.close();
  }
  for (const event of run.perSnapshot()) context.reporter.emit(event);
  context.reporter.emit(summary);
  return summary.exitCode;
}

/** Until all is done, a signal comes or the time is over; then everything is made durable. */
async function heal(run: RelinkRun, { stop }: CommandContext): Promise<RelinkEnding> {
  const stopProgress = run.reportProgress();
  const letGo = whenStopped(stop, () => {
    run.pool.control.stop();
  });
  const limit = run.startTimeLimit();
  try {
    const isWhole = await run.relinking.run();
    await run.relinking.seal();
    return isWhole ? { type: "finished" } : { type: "stopped", reason: stop.reason };
  } catch (error) {
    return { type: "failed", error: error as Error };
  } finally {
    clearTimeout(limit);
    letGo();
    stopProgress();
  }
}
