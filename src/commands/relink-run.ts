import type { RelinkOptions } from "../options.ts";
import { zeroRelinkCounters, type Event, type RelinkCounters, type RelinkPhase } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { isAtOrBelow } from "../tree/path.ts";
import { plannedDirectories, type UnitPlan } from "../tree/snapshots.ts";
import { DIRECTORY_ROW, DONE, NAME_ROW, type BatchView } from "../relink/batch-memory.ts";
import type { RelinkRules } from "../relink/messages.ts";
import { RelinkPool } from "../relink/relink-pool.ts";
import { Relinking } from "../relink/relinking.ts";
import { closeStockFiles, openStockFiles } from "../relink/stock-files.ts";
import type { Failure } from "../work/messages.ts";
import type { Store } from "../../store/store.ts";
import type { CommandContext } from "./context.ts";
import { jobsFor } from "./jobs.ts";
import { openKernel } from "./migrate-run.ts";
import { aboutOuterStore } from "./outer-store.ts";
import { openNamed, targetWarnings, tellNotices, type Root } from "./preflight.ts";
import { collectFilter } from "./migrate-filter.ts";
import { startTimeLimit } from "./time-limit.ts";
import { freeBytesOf, openRelinkRoot, planRoot, rulesOf, type OpenedRoot } from "./relink-root.ts";
import { rememberSelection } from "./selection.ts";
import { aboutSnapshots } from "./snapshot-glob.ts";

const PROGRESS_MS = 200;
const LOST_AND_FOUND = Buffer.from("lost+found");

/** Everything a relink has open. */
export type RelinkRun = {
  options: RelinkOptions;
  traits: { linkLimit: number };
  pool: RelinkPool;
  relinking: Relinking;
  counters(): RelinkCounters;
  peakRssAnonBytes(): number;
  reportProgress(): () => void;
  startTimeLimit(): NodeJS.Timeout | undefined;
  perSnapshot(): Event[];
  close(): Promise<void>;
};

/** Preflight, lock, what a killed run left, threads; nothing is changed yet. @throws DedupeError */
export async function openRelink(asked: RelinkOptions, context: CommandContext): Promise<RelinkRun> {
  const { kernel, sysModule } = await openKernel(context.sysModule);
  const filter = collectFilter(kernel, asked.filters);
  const root = openNamed(kernel, asked.root, "target");
  const options = { ...asked, jobs: jobsFor(kernel, asked, root) };
  const { reporter, version } = context;
  const { jobs, dryRun } = options;
  reporter.emit({ type: "start", command: "relink", version, root: options.root, jobs, dryRun });
  tellNotices(reporter, targetWarnings(kernel, root));
  tellNotices(reporter, aboutOuterStore(kernel, root));
  const opened = remembering(await openRelinkRoot(kernel, root, options), ({ directories }) => {
    rememberSelection(kernel, { root, storeFd: directories.storeFd }, { ...options, filter });
  });
  tellNotices(reporter, opened.notices);
  const rules = rulesOf(kernel, root, { options, filter });
  const plan = withoutLostAndFound(planRoot(kernel, root, { options, filter }));
  tellNotices(reporter, aboutSnapshots(plan.units, options.snapshotsGlob));
  return startRelink({ kernel, sysModule, options, context, root, opened, rules, plan });
}

/** What fsck put there waits for a person. */
function withoutLostAndFound(plan: UnitPlan): UnitPlan {
  return { ...plan, units: plan.units.filter(({ path }) => !isAtOrBelow(path, LOST_AND_FOUND)) };
}

/** What may be merged is remembered as soon as there is a store. */
function remembering(opened: OpenedRoot, remember: (store: Store) => void): OpenedRoot {
  const { store, openStore } = opened;
  if (store !== undefined) remember(store);
  if (openStore === undefined) return opened;
  return {
    ...opened,
    openStore: async () => {
      const late = await openStore();
      remember(late);
      return late;
    },
  };
}

type Parts = {
  kernel: Kernel;
  sysModule: string;
  options: RelinkOptions;
  context: CommandContext;
  root: Root;
  opened: OpenedRoot;
  rules: RelinkRules;
  plan: UnitPlan;
};

type Watch = { phase: RelinkPhase; total: number; peakRssAnonBytes: number; failures: number };

async function startRelink(parts: Parts): Promise<RelinkRun> {
  const { kernel, sysModule, options, context, root, opened, rules, plan } = parts;
  const counters = zeroRelinkCounters();
  const units = plan.units.length;
  const perUnit = { names: new Float64Array(units), freedBytes: new Float64Array(units) };
  const watch: Watch = { phase: "stock", total: 0, peakRssAnonBytes: rssAnonBytes(kernel), failures: 0 };
  const files = openStockFiles(kernel, opened.stockFd, options.jobs);
  const setup = { sysModule, rootFd: root.fd, files, rules };
  const pool = await RelinkPool.start(options.jobs, setup, {
    failures: (failures) => {
      for (const failure of failures) context.reporter.emit({ type: "failure", ...failure });
    },
  });
  if (opened.shared !== undefined) await pool.tellAll({ type: "store", store: opened.shared });
  const relinking = new Relinking({
    ...{ kernel, pool, files, rules, counters, perUnit, units: plan.units, full: options.full },
    recordsAtOnce: options.timeLimitMs !== undefined,
    ...{ rootFd: root.fd, stockFd: opened.stockFd, linkLimit: opened.linkLimit },
    ...{ objectsFd: opened.objectsFd, store: opened.store, openStore: opened.openStore },
    ...listenerOf(parts, watch),
  });
  const readCounters = (): RelinkCounters => countersOf(counters, { plan, pool, watch });
  return {
    ...{ options, pool, relinking, traits: { linkLimit: opened.linkLimit } },
    counters: readCounters,
    peakRssAnonBytes: () => watch.peakRssAnonBytes,
    reportProgress: () => reportProgress(parts, watch, readCounters),
    startTimeLimit: () => startTimeLimit(options, pool.control),
    perSnapshot: () => perSnapshot(plan, perUnit),
    close: async () => {
      await pool.close();
      relinking.close();
      closeStockFiles(kernel, files);
      tellNotices(context.reporter, await opened.close());
    },
  };
}

function listenerOf({ kernel, root, options, context }: Parts, watch: Watch) {
  return {
    freeBytes: (): number => freeBytesOf(kernel, root.fd),
    failed: (failure: Failure): void => {
      watch.failures++;
      context.reporter.emit({ type: "failure", ...failure });
    },
    phase: (phase: RelinkPhase, total: number): void => {
      watch.phase = phase;
      watch.total = total;
    },
    nameDone: (path: Buffer): void => {
      if (options.verbose) context.reporter.emit({ type: "entry", path, action: "linked" });
    },
    batchDone: (batch: BatchView, pathOf: (id: number, name: Buffer) => Buffer): void => {
      if (options.verbose) tellNames(context, batch, pathOf);
    },
  };
}

function countersOf(
  counters: RelinkCounters,
  { plan, pool, watch }: { plan: UnitPlan; pool: RelinkPool; watch: Watch },
): RelinkCounters {
  const { readBytes, readInodes, foreignDirectories, failures, ...walked } = pool.tally.sum();
  const planned = plannedDirectories(plan.units);
  const names = walked.names + planned;
  const directories = walked.directories + planned;
  const counted = { names, directories, readBytes, readInodes, foreignDirectories };
  return { ...counters, ...counted, failures: failures + watch.failures };
}

export function tellNames(
  { reporter }: CommandContext,
  batch: BatchView,
  pathOf: (id: number, name: Buffer) => Buffer,
): void {
  for (let index = 0; index < batch.directoryCount; index++) {
    const row = batch.directory(index);
    const first = row[DIRECTORY_ROW.firstName] as number;
    for (let at = first; at < first + (row[DIRECTORY_ROW.nameCount] as number); at++) {
      const name = batch.name(at);
      if (name[NAME_ROW.state] !== DONE) continue;
      const path = pathOf(row[DIRECTORY_ROW.id] as number, batch.textOf(name, NAME_ROW.text));
      reporter.emit({ type: "entry", path, action: "linked" });
    }
  }
}

function perSnapshot(
  { units }: UnitPlan,
  { names, freedBytes }: { names: Float64Array; freedBytes: Float64Array },
): Event[] {
  return units.flatMap(({ path }, unit): Event[] => {
    const [count = 0, freed = 0] = [names[unit], freedBytes[unit]];
    return count === 0 ? [] : [{ type: "relinked", path, names: count, freedBytes: freed }];
  });
}

/** Emits progress until the function it returns is called. */
function reportProgress(
  { kernel, context }: Parts,
  watch: Watch,
  counters: () => RelinkCounters,
): () => void {
  const started = performance.now();
  const measure = (): void => {
    watch.peakRssAnonBytes = Math.max(watch.peakRssAnonBytes, rssAnonBytes(kernel));
  };
  const timer = setInterval(() => {
    measure();
    const now = counters();
    const { phase, total } = watch;
    const done = phase === "read" ? now.readInodes : 0;
    const elapsedMs = performance.now() - started;
    context.reporter.emit({ type: "relink-progress", phase, counters: now, done, total, elapsedMs });
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    measure();
  };
}
