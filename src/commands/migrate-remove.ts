import type { MigrateOptions } from "../options.ts";
import { zeroCounters } from "../report/events.ts";
import { filterFrom } from "../tree/filter.ts";
import { Stopped } from "../work/errors.ts";
import { MovedDirectory } from "../work/moved-directory.ts";
import { SourceRemover, type RemovalListener } from "../work/remove-source.ts";
import type { CommandContext, StopReason } from "./context.ts";
import type { MigrateRun } from "./migrate-run.ts";
import type { Ending } from "./migrate-summary.ts";

const removes = ({ removeSourceFiles, dryRun }: MigrateOptions): boolean => removeSourceFiles && !dryRun;

/** Before anything is copied: what a run that was killed while it removed names left in the source. */
export function finishInterruptedRemoval({ kernel, roots, store, options }: MigrateRun): void {
  if (removes(options)) new MovedDirectory(kernel, store.directories.logFd).finishInterrupted(roots.sourceFd);
}

/**
 * --remove-source-files, after the last syncfs: the names of complete snapshots go from the source, each once it was
 * read back from the target and matched. What stays is a failure of its own.
 */
export async function removeSource(run: MigrateRun, context: CommandContext): Promise<Ending> {
  if (!removes(run.options)) return { type: "finished" };
  const message = "everything is on the target; reading it back before its names in the source are removed";
  context.reporter.emit({ type: "notice", level: "info", code: "removing-source", message });
  const stopProgress = run.reportProgress();
  try {
    await openRemover(run, context).run(run.plan.units.filter((_, unit) => run.tally.whole.has(unit)));
    return { type: "finished" };
  } catch (error) {
    if (error instanceof Stopped)
      return { type: "stopped", signal: (context.stop.reason as StopReason).signal };
    return { type: "failed", error: error as Error };
  } finally {
    stopProgress();
  }
}

function openRemover(run: MigrateRun, context: CommandContext): SourceRemover {
  const { kernel, roots, filter, store, traits, options } = run;
  return new SourceRemover({
    ...{ kernel, roots, traits, rules: options },
    directories: store.directories,
    filter: filter === undefined ? undefined : filterFrom(filter),
    inodes: run.counters().inodes,
    listener: removalListener(run, context),
  });
}

function removalListener(run: MigrateRun, { reporter, stop }: CommandContext): RemovalListener {
  return {
    isStopped: () => stop.aborted,
    kept: (failure) => {
      run.migration.failures(-1, [failure]);
    },
    removed: (path) => {
      if (run.options.verbose) reporter.emit({ type: "entry", path: path(), action: "removed" });
    },
    // The threads have nothing to do by now: a row of theirs is free.
    tally: (done) => {
      run.pool.counters.flush(0, { ...zeroCounters(), ...done });
    },
  };
}
