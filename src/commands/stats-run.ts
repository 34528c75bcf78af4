import { tmpdir } from "node:os";
import { DedupeError } from "../errors.ts";
import type { StatsOptions } from "../options.ts";
import { zeroCounters } from "../report/events.ts";
import { O_CLOEXEC } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { readOnlySys } from "../sys/read-only.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { hasFileMounts } from "../tree/reach.ts";
import { planUnits, type Unit } from "../tree/snapshots.ts";
import { makeTemporary, type Temporary } from "../tree/temporary.ts";
import { filesystemMagic, linkLimits } from "../tree/traits.ts";
import { orderUnits, type Link } from "../stats/chain.ts";
import { chooseUnits } from "../stats/choose-units.ts";
import { COUNT_COLUMNS, COUNT_NAMES } from "../stats/layout.ts";
import type { CountRules } from "../stats/messages.ts";
import { StatsPool, type StatsListener } from "../stats/stats-pool.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { CommandContext } from "./context.ts";
import { jobsFor } from "./jobs.ts";
import { openKernel } from "./migrate-run.ts";
import { openNamed, tellNotices, type Root } from "./preflight.ts";
import { aboutSnapshots, snapshotMatcher } from "./snapshot-glob.ts";

const PROGRESS_MS = 200;

/** Everything that stats has open. */
export type StatsRun = {
  options: StatsOptions;
  context: CommandContext;
  /** Cannot write. */
  kernel: Kernel;
  /** For scratch files in the temporary folder. */
  writer: Kernel;
  target: Root;
  /** -1: there is none, or this user may not look into it. */
  storeFd: number;
  store: "read" | "missing" | "hidden";
  links: Link[];
  /** By unit. */
  isInSet: boolean[];
  linkLimit: number;
  temporary: Temporary;
  pool: StatsPool;
  started: number;
  watch: { failures: number };
  /** Units whose walk has begun. */
  begun: number;
  peakRssAnonBytes: number;
  close(): Promise<void>;
};

/** @throws DedupeError, SysError for the target itself */
export async function openStats(options: StatsOptions, context: CommandContext): Promise<StatsRun> {
  const { kernel: writer, sysModule } = await openKernel(context.sysModule);
  const kernel = { sys: readOnlySys(writer.sys), scratch: writer.scratch };
  const target = openNamed(kernel, options.target, "target");
  const { reporter, version } = context;
  const jobs = jobsFor(kernel, options, target);
  const started = performance.now();
  reporter.emit({ type: "start", command: "stats", version, target: options.target, jobs, dryRun: false });
  const units = planTarget(kernel, target, options);
  tellNotices(reporter, aboutSnapshots(units, options.snapshotsGlob));
  const links = orderUnits(units);
  const isInSet = chosenUnits(links, options);
  const temporary = openTemporary(writer);
  const watch = { failures: 0 };
  const parts = { jobs, sysModule, rootFd: target.fd, temporary };
  const rules = rulesOf(kernel, target, { options, units: links.length });
  const pool = await StatsPool.start(writer, { ...parts, rules }, listenerOf(context, watch));
  return {
    ...{ options, context, kernel, writer, target, links, isInSet, temporary, pool, started },
    ...openStore(kernel, target),
    linkLimit: linkLimits.get(filesystemMagic(kernel.sys, target.fd, kernel.sys.allocate(256))) ?? 0,
    watch,
    begun: 0,
    peakRssAnonBytes: rssAnonBytes(kernel),
    close: async () => {
      await pool.close();
      temporary.remove();
    },
  };
}

function rulesOf(
  kernel: Kernel,
  target: Root,
  { options, units }: { options: StatsOptions; units: number },
): CountRules {
  return {
    startSeconds: Math.floor(Date.now() / 1000),
    hasFileMounts: hasFileMounts(kernel, target),
    verbose: options.verbose,
    units,
  };
}

function listenerOf({ reporter }: CommandContext, watch: { failures: number }): StatsListener {
  return {
    failures: (failures) => {
      watch.failures += failures.length;
      for (const failure of failures) reporter.emit({ type: "failure", ...failure });
    },
    looked: (paths) => {
      for (const path of paths) reporter.emit({ type: "entry", path, action: "counted" });
    },
  };
}

function planTarget(kernel: Kernel, target: Root, { snapshotsGlob }: StatsOptions): Unit[] {
  return planUnits(kernel, target.fd, {
    isSnapshot: snapshotsGlob === undefined ? undefined : snapshotMatcher(snapshotsGlob),
    takes: (path) => path.toString("latin1") !== STORE_NAME,
  }).units;
}

/** @throws DedupeError for a set that names nothing: a typing error must not look like "frees nothing" */
function chosenUnits(links: readonly Link[], { ifDeleted, target }: StatsOptions): boolean[] {
  const units = links.map(({ unit }) => unit);
  const { isChosen, nothing } = chooseUnits(units, ifDeleted, snapshotMatcher);
  if (nothing.length === 0) return isChosen;
  throw new DedupeError(
    "NO_SUCH_SNAPSHOT",
    `no snapshot of ${target} is meant by '${nothing.join("', '")}'`,
    {
      hint: "Name snapshots as stats lists them: daily.3, host1/daily.3, daily.20..daily.29 or 'daily.*'.",
      exitCode: "usage",
    },
  );
}

/** @throws DedupeError */
function openTemporary(writer: Kernel): Temporary {
  const parent = tmpdir();
  try {
    return makeTemporary(writer, parent, "stats");
  } catch (cause) {
    throw new DedupeError("NO_SCRATCH", `no scratch files can be made in the temporary folder ${parent}`, {
      hint: "Set TMPDIR to a directory with room that may be written to; nothing is written to the target.",
      cause,
    });
  }
}

/** Looked at without a lock: what a run changes meanwhile shows in the figures as it was at some moment. */
function openStore({ sys, scratch }: Kernel, { fd }: Root): Pick<StatsRun, "storeFd" | "store"> {
  const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
  const storeFd = sys.openat(fd, scratch.text(STORE_NAME), flags, 0);
  if (storeFd >= 0) return { storeFd, store: "read" };
  return { storeFd: -1, store: storeFd === -errno.ENOENT ? "missing" : "hidden" };
}

/** Emits progress until the function it returns is called. */
export function reportStatsProgress(run: StatsRun): () => void {
  const { context, pool, started, links } = run;
  const sample = (): void => {
    run.peakRssAnonBytes = Math.max(run.peakRssAnonBytes, rssAnonBytes(run.kernel));
  };
  const timer = setInterval(() => {
    sample();
    context.reporter.emit({
      type: "progress",
      counters: { ...zeroCounters(), names: namesSoFar(pool.counts) },
      snapshotsDone: Math.max(0, Math.min(run.begun - run.options.jobs, links.length)),
      snapshotsTotal: links.length,
      snapshot: links[run.begun - 1]?.unit.path ?? Buffer.alloc(0),
      elapsedMs: performance.now() - started,
      unit: "part",
    });
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    sample();
  };
}

function namesSoFar(counts: Float64Array): number {
  let names = 0;
  for (let at = COUNT_NAMES; at < counts.length; at += COUNT_COLUMNS) names += counts[at] as number;
  return names;
}
