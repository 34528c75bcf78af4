import type { MigrateOptions } from "../options.ts";
import type { Summary } from "../report/events.ts";
import type { CommandContext, StopReason, StopSignal } from "./context.ts";
import { openRun, type MigrateRun } from "./migrate-run.ts";
import { summarise } from "./migrate-summary.ts";

/**
 * `dedupe migrate`: the contents of the source appear in the target, linked as they were, merged where identical.
 * @returns the exit code. @throws DedupeError before anything was done
 */
export async function migrate(options: MigrateOptions, context: CommandContext): Promise<number> {
  const started = performance.now();
  const run = await openRun(options, context);
  let summary: Summary;
  try {
    const ending = await copyAll(run, context);
    summary = summarise(run, { ending, elapsedMs: performance.now() - started });
  } finally {
    await run.close();
  }
  context.reporter.emit(summary);
  return summary.exitCode;
}

/** What ended the run early: a signal, or a failure of the target or source as a whole. */
export type Ending =
  { type: "finished" } | { type: "stopped"; signal: StopSignal } | { type: "failed"; error: Error };

/** Builds and publishes every unit, then the containers' metadata, then makes it all durable. */
async function copyAll(run: MigrateRun, { reporter, stop }: CommandContext): Promise<Ending> {
  reporter.emit({ type: "plan", snapshots: run.plan.units.length });
  const stopProgress = run.reportProgress();
  const onStop = (): void => {
    run.pool.control.stop();
  };
  stop.addEventListener("abort", onStop);
  try {
    await run.migration.run(run.pool);
    if (!stop.aborted) run.migration.finishContainers(run.plan.containers);
    await run.store.sync();
    return stop.aborted
      ? { type: "stopped", signal: (stop.reason as StopReason).signal }
      : { type: "finished" };
  } catch (error) {
    return { type: "failed", error: error as Error };
  } finally {
    stop.removeEventListener("abort", onStop);
    stopProgress();
  }
}
