import { DedupeError } from "../errors.ts";
import type { RelinkOptions } from "../options.ts";
import { zeroUndoCounters, type UndoCounters, type UndoSummary } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { forgetUndoLog, undoFiles } from "../relink/undo-log.ts";
import { UndoPlan } from "../relink/undo-plan.ts";
import { Undoing } from "../relink/undoing.ts";
import { RelinkPool } from "../relink/relink-pool.ts";
import { openScratch } from "../relink/record-file.ts";
import { closeStockFiles, openStockFiles } from "../relink/stock-files.ts";
import type { Failure } from "../work/messages.ts";
import { whenStopped, type CommandContext } from "./context.ts";
import { openKernel } from "./migrate-run.ts";
import { openNamed, targetWarnings, tellNotices, type Root } from "./preflight.ts";
import { openRelinkRoot, planRoot, rulesOf, type OpenedRoot } from "./relink-root.ts";
import { startTimeLimit } from "./time-limit.ts";
import { withPolicy } from "./relink-policy.ts";
import { codeOf, errorOf, outcomeOf, type RelinkEnding } from "./relink-summary.ts";

/**
 * `dedupe relink --undo`: puts back what `--ignore-*` discarded, by the log that the runs kept.
 * @returns the exit code. @throws DedupeError before anything was done
 */
export async function undoRelink(typed: RelinkOptions, context: CommandContext): Promise<number> {
  const started = performance.now();
  const { kernel, sysModule } = await openKernel(context.sysModule);
  const root = openNamed(kernel, typed.root, "target");
  const { reporter, version } = context;
  const { jobs, dryRun } = typed;
  reporter.emit({ type: "start", command: "relink", version, root: typed.root, jobs, dryRun });
  tellNotices(reporter, targetWarnings(kernel, root));
  const options = withPolicy(kernel, root, typed);
  const opened = await openRelinkRoot(kernel, root, options);
  tellNotices(reporter, opened.notices);
  const counters = zeroUndoCounters();
  const parts = { kernel, sysModule, root, options, opened, context, counters };
  const ending = await undo(parts).finally(async () => {
    tellNotices(reporter, await opened.close());
  });
  const summary = summarise(parts, ending, performance.now() - started);
  reporter.emit(summary);
  return summary.exitCode;
}

type Parts = {
  kernel: Kernel;
  sysModule: string;
  root: Root;
  options: RelinkOptions;
  opened: OpenedRoot;
  context: CommandContext;
  counters: UndoCounters;
};

type Undo = { undoing: Undoing; pool: RelinkPool; plan: UndoPlan; close: () => Promise<void> };

async function openUndo(parts: Parts): Promise<Undo> {
  const { kernel, sysModule, root, options, opened, context, counters } = parts;
  const { store, stockFd, objectsFd, linkLimit, logFd } = opened;
  const failed = (failure: Failure): void => {
    counters.failures++;
    context.reporter.emit({ type: "failure", ...failure });
  };
  const files = openStockFiles(kernel, stockFd, options.jobs);
  const rules = rulesOf(kernel, root, { options, filter: undefined });
  const setup = { sysModule, rootFd: root.fd, files, rules };
  const pool = await RelinkPool.start(options.jobs, setup, {
    failures: (failures) => {
      failures.forEach(failed);
    },
  });
  if (store !== undefined) await pool.tellAll({ type: "store", store: store.shared });
  const sortFds = [openScratch(kernel, stockFd, "undo.0"), openScratch(kernel, stockFd, "undo.1")] as const;
  const { units } = planRoot(kernel, root, { options, filter: undefined });
  const tops = units.map(({ path }) => path);
  const plan = new UndoPlan({ kernel, rootFd: root.fd, logFd, objectsFd, sortFds, tops });
  const { compared } = options;
  const undoing = new Undoing({
    ...{ kernel, pool, files, rootFd: root.fd, device: rules.device, compared, linkLimit },
    ...{ store, objectsFd, groups: plan.groups(), failed, counters },
  });
  const close = async (): Promise<void> => {
    await undoing.close();
    await pool.close();
    plan.close();
    for (const fd of sortFds) kernel.sys.close(fd);
    closeStockFiles(kernel, files);
  };
  return { undoing, pool, plan, close };
}

async function undo(parts: Parts): Promise<RelinkEnding> {
  const { kernel, options, opened, root, context, counters } = parts;
  const { store, logFd } = opened;
  const isFull = !options.dryRun && store === undefined;
  if (isFull && undoFiles(kernel, logFd).length > 0) throw noRoom(root);
  const { undoing, pool, plan, close } = await openUndo(parts);
  const letGo = whenStopped(context.stop, () => {
    pool.control.stop();
  });
  const limit = startTimeLimit(options, pool.control);
  try {
    const isWhole = await undoing.run();
    await store?.seal();
    await store?.sync();
    // What was not found may only have been moved: nothing else knows what it had.
    const isAll = isWhole && counters.failures === 0 && plan.otherNames === 0;
    if (store !== undefined && isAll) forgetUndoLog(kernel, logFd);
    return isWhole ? { type: "finished" } : { type: "stopped", reason: context.stop.reason };
  } catch (error) {
    return { type: "failed", error: error as Error };
  } finally {
    counters.loggedNames = plan.loggedNames;
    counters.otherNames = plan.otherNames;
    clearTimeout(limit);
    letGo();
    await close();
  }
}

function noRoom({ path }: Root): DedupeError {
  return new DedupeError("NO_SPACE", `${path} has no room for names to have inodes of their own again`, {
    hint: "Free some space on it, then run again.",
  });
}

function summarise(
  { kernel, options, counters }: Parts,
  ending: RelinkEnding,
  elapsedMs: number,
): UndoSummary {
  return {
    ...counters,
    type: "summary",
    command: "relink",
    outcome: outcomeOf(ending, counters.failures),
    exitCode: codeOf(ending, counters.failures),
    dryRun: options.dryRun,
    root: options.root,
    elapsedMs,
    peakRssAnonBytes: rssAnonBytes(kernel),
    ...(ending.type === "failed" ? { error: errorOf(ending.error) } : {}),
  };
}
