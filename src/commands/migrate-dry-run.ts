import { tmpdir } from "node:os";
import type { MigrateOptions } from "../options.ts";
import type { Counters, Summary } from "../report/events.ts";
import { readOnlySys } from "../sys/read-only.ts";
import type { Kernel } from "../sys/files.ts";
import type { FilterRules } from "../tree/filter.ts";
import { foreseeTraits, type ForeseenTraits } from "../tree/foresee-traits.ts";
import { usableSpace } from "../tree/identity.ts";
import { readMounts } from "../tree/mounts.ts";
import { makeTemporary, type Temporary } from "../tree/temporary.ts";
import type { UnitPlan } from "../tree/snapshots.ts";
import { Survey, type NeedCounts, type SurveyResult, type SurveySetup } from "../work/survey.ts";
import { MetInodes, StoreView, ensureIndex, shareForReading } from "../../store/store.ts";
import { whenStopped, type CommandContext, type StopReason } from "./context.ts";
import { refuseEmptySource, refuseLostFilesystem } from "./delete-guards.ts";
import { collectFilter } from "./migrate-filter.ts";
import {
  countersOf,
  countSnapshots,
  migrationListener,
  openKernel,
  planSource,
  reportProgress,
  startOf,
  workRules,
  zeroTally,
  type Tally,
} from "./migrate-run.ts";
import { summarise, type Ending } from "./migrate-summary.ts";
import { aboutOuterStore } from "./outer-store.ts";
import {
  aboutTimes,
  noHardLinks,
  openRoots,
  preflightRefusal,
  refuseForeignTarget,
  sizeText,
  targetRefusal,
  tellNotices,
  warnings,
  type Notice,
  type Root,
} from "./preflight.ts";
import { aboutSnapshots } from "./snapshot-glob.ts";

/** Everything a dry run has open. Only `writer` may write, and only in `temporary`. */
type DryRun = {
  kernel: Kernel;
  writer: Kernel;
  sysModule: string;
  options: MigrateOptions;
  context: CommandContext;
  source: Root;
  target: Root;
  filter: FilterRules | undefined;
  plan: UnitPlan;
  temporary: Temporary;
  store: StoreView | undefined;
  traits: ForeseenTraits;
  /** Of store/met-inodes.ts. */
  met: SharedArrayBuffer;
};

/**
 * `dedupe migrate --dry-run`: what a run would do, in the run's own figures, without changing anything.
 * @returns the exit code. @throws DedupeError
 */
export async function dryRun(options: MigrateOptions, context: CommandContext): Promise<number> {
  const started = performance.now();
  const run = await open(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, "source and target");
  });
  let summary: Summary;
  try {
    summary = await survey(run, started);
  } finally {
    run.temporary.remove();
    run.store?.close();
  }
  context.reporter.emit(summary);
  return summary.exitCode;
}

async function open(options: MigrateOptions, context: CommandContext): Promise<DryRun> {
  const { kernel: writer, sysModule } = await openKernel(context.sysModule);
  const kernel: Kernel = { sys: readOnlySys(writer.sys), scratch: writer.scratch };
  const filter = collectFilter(kernel, options.filters);
  const roots = openRoots(kernel, options.source, options.target);
  const { source, target } = roots;
  const { reporter } = context;
  reporter.emit({ ...startOf(options), version: context.version });
  tellNotices(reporter, warnings(kernel, source, target, options));
  tellNotices(reporter, aboutOuterStore(kernel, target));
  refuseEmptySource(kernel, source, options);
  refuseWithoutHardLinks(kernel, target);
  refuseForeignTarget(kernel, target);
  const plan = planSource(kernel, source, options, filter);
  tellNotices(reporter, aboutSnapshots(plan.units, options.snapshotsGlob));
  const temporary = makeTemporary(writer, tmpdir());
  try {
    const opened = await openStore({ kernel, writer, options, ...roots, temporary });
    tellNotices(reporter, aboutTimes(opened.traits));
    const met = MetInodes.allocate();
    return { kernel, writer, sysModule, options, context, ...roots, filter, plan, temporary, ...opened, met };
  } catch (error) {
    temporary.remove();
    throw targetRefusal(error, target.path);
  }
}

/** The types that are known to have none; a run proves it by making one. */
function refuseWithoutHardLinks(kernel: Kernel, target: Root): void {
  const type = readMounts(kernel).find(({ device }) => device === target.device)?.type ?? "";
  if (["vfat", "msdos", "exfat", "fuse.exfat"].includes(type))
    throw noHardLinks(target.path, type, undefined);
}

type Opening = Pick<DryRun, "kernel" | "writer" | "options" | "source" | "target" | "temporary">;

async function openStore(opening: Opening): Promise<Pick<DryRun, "store" | "traits">> {
  const { kernel, writer, options, source, target, temporary } = opening;
  const policy = { compared: options.compared, merge: options.merge };
  const store = StoreView.open(kernel, target.fd, policy);
  if (store !== undefined && store.logFd >= 0)
    refuseLostFilesystem(kernel, { source, logFd: store.logFd }, options);
  const index = temporary.make("index");
  await store?.copyIndex(writer, index, options.indexDir);
  await ensureIndex(writer, index);
  const trial = { kernel: writer, dirFd: temporary.fd };
  return { store, traits: foreseeTraits(target.fd, trial, store?.granularityNs) };
}

async function survey(run: DryRun, started: number): Promise<Summary> {
  const { options, plan, context, kernel, traits } = run;
  const survey = new Survey();
  const tally = zeroTally(kernel);
  const counters = (): Counters => ({ ...countersOf(plan, survey.counters()), failures: tally.failures });
  context.reporter.emit({ type: "plan", snapshots: countSnapshots(plan) });
  const stopProgress = reportProgress(run, tally, counters);
  const { ending, result } = await goThrough(run, survey, tally);
  stopProgress();
  if (result?.type === "finished") tellNotices(context.reporter, aboutNeeds(run, result.needs));
  const heldDeletes = result?.type === "finished" ? result.held : 0;
  const met = new MetInodes(run.met);
  const summarised = { options, plan, tally, counters, traits, met, migration: { heldDeletes } };
  return summarise(summarised, { ending, elapsedMs: performance.now() - started });
}

async function goThrough(
  run: DryRun,
  survey: Survey,
  tally: Tally,
): Promise<{ ending: Ending; result?: SurveyResult }> {
  const { context, temporary } = run;
  const { reporter, stop } = context;
  const letGo = whenStopped(stop, () => {
    survey.stop();
  });
  try {
    const result = await survey.run(setupOf(run), {
      ...migrationListener(run, tally),
      entries: (entries) => {
        for (const entry of entries) reporter.emit({ type: "entry", ...entry });
      },
      opened: () => {
        // Nothing is left behind now, even if this process is killed.
        temporary.remove();
      },
    });
    if (result.type === "finished") return { ending: { type: "finished" }, result };
    return { ending: { type: "stopped", signal: (stop.reason as StopReason).signal } };
  } catch (error) {
    return { ending: { type: "failed", error: error as Error } };
  } finally {
    letGo();
  }
}

function setupOf(run: DryRun): Parameters<Survey["run"]>[0] {
  const { options, plan, source, target, store, traits, temporary, sysModule } = run;
  const emptyFd = temporary.open("empty");
  const fd = (wanted: number | undefined): number => (wanted === undefined || wanted < 0 ? emptyFd : wanted);
  const roots = { sourceFd: source.fd, targetFd: target.fd, sourceDevice: source.device, emptyFd };
  const setup: Omit<SurveySetup, "thread"> = {
    units: plan.units,
    roots,
    traits,
    store: store === undefined ? "new" : "there",
    maxDelete: options.maxDelete,
    ledgerDirectory: temporary.make("ledger"),
  };
  const shared = shareForReading({
    objectsFd: fd(store?.objectsFd),
    groupsFd: fd(store?.groupsFd),
    stagingFd: fd(store?.stagingFd),
    indexPath: temporary.make("index"),
    met: run.met,
  });
  return { ...setup, thread: { sysModule, store: shared, traits, rules: workRules(run) } };
}

function aboutNeeds({ kernel, target }: DryRun, needs: NeedCounts): Notice[] {
  const free = usableSpace(kernel.sys, target.fd, kernel.sys.allocate(256));
  const notices: Notice[] = [
    {
      level: "info",
      code: "NEEDED",
      message: `the target needs about ${sizeText(needs.bytes)} and ${String(needs.inodes)} inodes for this; it has ${sizeText(free.bytes)}${free.hasInodes ? ` and ${String(free.inodes)} inodes` : ""} free`,
    },
  ];
  if (needs.bytes > free.bytes) {
    const message = `it will not fit: the target ${target.path} lacks about ${sizeText(needs.bytes - free.bytes)}`;
    notices.push({ level: "warning", code: "TOO_FEW_BYTES", message });
  }
  if (free.hasInodes && needs.inodes > free.inodes) {
    const message = `it will not fit: the target ${target.path} lacks about ${String(needs.inodes - free.inodes)} inodes`;
    notices.push({ level: "warning", code: "TOO_FEW_INODES", message });
  }
  return notices;
}
