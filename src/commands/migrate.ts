import type { MigrateOptions } from "../options.ts";
import type { Summary } from "../report/events.ts";
import { whenStopped, type CommandContext, type StopReason } from "./context.ts";
import { dryRun } from "./migrate-dry-run.ts";
import { finishInterruptedRemoval, removeSource } from "./migrate-remove.ts";
import { countSnapshots, openRun, type MigrateRun } from "./migrate-run.ts";
import { summarise, type Ending } from "./migrate-summary.ts";
import { preflightRefusal } from "./preflight.ts";
import { tellRotation } from "./rotation.ts";

/**
 * `dedupe migrate`: the contents of the source appear in the target, linked as they were, merged where identical.
 * @returns the exit code. @throws DedupeError before anything was done
 */
export async function migrate(options: MigrateOptions, context: CommandContext): Promise<number> {
  if (options.dryRun) return dryRun(options, context);
  const started = performance.now();
  const run = await openRun(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, "source and target");
  });
  let summary: Summary;
  try {
    finishInterruptedRemoval(run);
    const copied = await copyAll(run, context);
    const ending = copied.type === "finished" ? await removeSource(run, context) : copied;
    summary = summarise(run, { ending, elapsedMs: performance.now() - started });
  } finally {
    await run.close();
  }
  context.reporter.emit(summary);
  return summary.exitCode;
}

/** Makes containers ready, builds and publishes every unit, then the containers' metadata, then makes it all durable. */
async function copyAll(run: MigrateRun, context: CommandContext): Promise<Ending> {
  const { reporter, stop } = context;
  reporter.emit({ type: "plan", snapshots: countSnapshots(run.plan) });
  const stopProgress = run.reportProgress();
  const letGo = whenStopped(stop, () => {
    run.pool.control.stop();
  });
  try {
    run.migration.prepareContainers(run.plan.containers);
    await run.migration.run(run.pool);
    if (!stop.aborted) run.migration.finishContainers(run.plan.containers);
    if (!stop.aborted) {
      run.recordSource();
      tellRotation(run, context);
    }
    await run.store.sync();
    return stop.aborted
      ? { type: "stopped", signal: (stop.reason as StopReason).signal }
      : { type: "finished" };
  } catch (error) {
    return { type: "failed", error: error as Error };
  } finally {
    letGo();
    stopProgress();
  }
}
