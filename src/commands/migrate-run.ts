import { randomBytes } from "node:crypto";
import type { MigrateOptions } from "../options.ts";
import { zeroCounters, type Counters, type Reporter } from "../report/events.ts";
import { openSys as openLinux } from "../sys/linux.ts";
import { Scratch } from "../sys/scratch.ts";
import type { Kernel } from "../sys/files.ts";
import type { SysFactory } from "../sys/sys.ts";
import { filterFrom, type FilterRules } from "../tree/filter.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { hasFileMounts } from "../tree/reach.ts";
import { plannedDirectories, planUnits, type UnitPlan } from "../tree/snapshots.ts";
import type { TargetTraits } from "../tree/traits.ts";
import type { Failure, WorkRules } from "../work/messages.ts";
import { Migration, type MigrationListener, type UnitState } from "../work/migration.ts";
import { Pool, type PoolListener } from "../work/pool.ts";
import { Publisher } from "../work/publish.ts";
import { MetInodes, type Store, STORE_NAME } from "../../store/store.ts";
import { dismissThreads, entryPoint } from "../entry-points.ts";
import type { CommandContext } from "./context.ts";
import { recordSource, refuseEmptySource, refuseLostFilesystem, watchFilesystems } from "./delete-guards.ts";
import { jobsFor } from "./jobs.ts";
import { collectFilter } from "./migrate-filter.ts";
import { openTarget } from "./open-target.ts";
import { aboutOuterStore } from "./outer-store.ts";
import { aboutTimes, openRoots, tellNotices, warnings, type Root } from "./preflight.ts";
import { placeForPlans } from "./place-for-plans.ts";
import { refuseReadOnlySource } from "./read-only.ts";
import { rememberSelection } from "./selection.ts";
import { aboutSnapshots, snapshotMatcher } from "./snapshot-glob.ts";

const PROGRESS_MS = 200;

/** What the main thread has counted itself. */
export type Tally = {
  states: Record<UnitState, number>;
  done: number;
  /** Units without a failure. */
  whole: Set<number>;
  failures: number;
  /** The unit most recently begun. */
  current: Buffer;
  /** Highest RssAnon of the process seen at the progress ticks. */
  peakRssAnonBytes: number;
};

/** Everything a migrate has open. */
export type MigrateRun = {
  kernel: Kernel;
  source: Root;
  /** By the clock, when the source was about to be planned. */
  plannedAtMs: number;
  roots: { sourceFd: number; targetFd: number; sourceDevice: number };
  filter: FilterRules | undefined;
  options: MigrateOptions;
  plan: UnitPlan;
  store: Store;
  pool: Pool;
  migration: Migration;
  traits: TargetTraits;
  tally: Tally;
  /** The source inodes that were counted. */
  met: MetInodes;
  counters(): Counters;
  reportProgress(): () => void;
  /** Remembers which filesystems the source had, for the guards of a later --delete. */
  recordSource(): void;
  close(): Promise<void>;
};

/** Preflight, lock, recovery, plan and threads; nothing of the source is copied yet. @throws DedupeError */
export async function openRun(options: MigrateOptions, context: CommandContext): Promise<MigrateRun> {
  const { kernel, sysModule } = await openKernel(context.sysModule);
  const filter = collectFilter(kernel, options.filters);
  const roots = openRoots(kernel, options.source, options.target);
  const workers = Pool.boot(jobsFor(kernel, options, roots.source));
  try {
    return await openWith({ kernel, sysModule, filter, workers, ...roots }, options, context);
  } catch (error) {
    dismissThreads(workers);
    throw error;
  }
}

type Begun = Pick<Parts, "kernel" | "sysModule" | "filter" | "workers" | "source" | "target">;

async function openWith(begun: Begun, options: MigrateOptions, context: CommandContext): Promise<MigrateRun> {
  const { kernel, filter, source, target } = begun;
  refuseReadOnlySource(kernel, source, options);
  const { reporter } = context;
  reporter.emit({ ...startOf({ ...options, jobs: begun.workers.length }), version: context.version });
  tellNotices(reporter, warnings(kernel, source, target, options));
  tellNotices(reporter, aboutOuterStore(kernel, target));
  const plannedAtMs = Date.now();
  const plan = planSource(kernel, source, options, filter);
  tellNotices(reporter, aboutSnapshots(plan.units, options.snapshotsGlob));
  refuseEmptySource(kernel, source, options);
  const { notices, ...opened } = await openTarget(kernel, target, { ...options, getsMetadata: true });
  tellNotices(reporter, [...notices, ...aboutTimes(opened.traits)]);
  try {
    const { logFd, storeFd } = opened.store.directories;
    refuseLostFilesystem(kernel, { source, logFd }, options);
    rememberSelection(kernel, { root: target, storeFd }, { ...options, filter: "kept" });
  } catch (error) {
    await opened.store.close();
    throw error;
  }
  return startRun({ ...begun, options, context, plan, plannedAtMs, ...opened });
}

/** What threads have counted, and the plan's own directories besides. */
export function countersOf({ units }: UnitPlan, counted: Partial<Counters>): Counters {
  const sum = { ...zeroCounters(), ...counted };
  const planned = plannedDirectories(units);
  return { ...sum, names: sum.names + planned, directories: sum.directories + planned };
}

export function startOf({ source, target, jobs, dryRun }: MigrateOptions) {
  return { type: "start", command: "migrate", source, target, jobs, dryRun } as const;
}

export async function openKernel(sysModule: URL | undefined): Promise<{ kernel: Kernel; sysModule: string }> {
  const url = sysModule ?? entryPoint("linux");
  const factory =
    sysModule === undefined ? openLinux : ((await import(url.href)) as { openSys: SysFactory }).openSys;
  const sys = factory();
  sys.umask(0);
  return { kernel: { sys, scratch: new Scratch(sys) }, sysModule: url.href };
}

export function planSource(
  kernel: Kernel,
  source: Root,
  options: MigrateOptions,
  rules: FilterRules | undefined,
): UnitPlan {
  const filter = rules === undefined ? undefined : filterFrom(rules);
  const plan = planUnits(kernel, source.fd, {
    isSnapshot: options.snapshotsGlob === undefined ? undefined : snapshotMatcher(options.snapshotsGlob),
    takes: (path) => path.toString("latin1") !== STORE_NAME && (filter?.takes(path, "directory") ?? true),
    oneFileSystem: options.oneFileSystem,
  });
  return plan;
}

type Parts = {
  kernel: Kernel;
  sysModule: string;
  workers: ReturnType<typeof Pool.boot>;
  options: MigrateOptions;
  context: CommandContext;
  source: Root;
  target: Root;
  plan: UnitPlan;
  plannedAtMs: number;
  filter: FilterRules | undefined;
  store: Store;
  traits: TargetTraits;
};

async function startRun(parts: Parts): Promise<MigrateRun> {
  const { kernel, options, source, target, plan, store, traits } = parts;
  const roots = { sourceFd: source.fd, targetFd: target.fd, sourceDevice: source.device };
  const { stagingFd } = store.directories;
  const publisher = new Publisher(kernel, { ...roots, stagingFd }, traits, {
    ...options,
    filter: parts.filter,
    onRemoved: tellRemoved(parts),
  });
  const tally = zeroTally(kernel);
  const listener = migrationListener(parts, tally);
  const checkSource = watchFilesystems(kernel, source, options);
  const plans = placeForPlans(kernel, target, store);
  const migration = new Migration({
    ...{ kernel, roots, store, publisher, listener, checkSource },
    ...{ units: plan.units, plansFd: plans.fd },
  });
  tellLeftovers(parts, migration.sweep());
  const setup = { sysModule: parts.sysModule, store: store.shared, traits, rules: workRules(parts) };
  const pool = await Pool.start(parts.workers, setup, poolListener(parts.context.reporter, migration));
  const counters = (): Counters => {
    const { deletedNames } = migration;
    return { ...countersOf(plan, pool.counters.sum()), deletedNames, failures: tally.failures };
  };
  return {
    ...{ kernel, source, roots, filter: parts.filter, plannedAtMs: parts.plannedAtMs },
    ...{ options, plan, store, pool, migration, traits, tally, counters },
    met: new MetInodes(store.shared.met),
    reportProgress: () => reportProgress(parts, tally, counters),
    recordSource: () => {
      checkSource();
      recordSource(kernel, { source, logFd: store.directories.logFd }, options);
    },
    close: async () => {
      await pool.close();
      plans.remove();
      await store.close();
    },
  };
}

function tellLeftovers({ context }: Parts, leftovers: readonly Failure[]): void {
  for (const { path, message } of leftovers) {
    const text = `${path.toString()} on the target is left over from an earlier run and stays: ${message}`;
    context.reporter.emit({ type: "notice", level: "warning", code: "LEFTOVER", message: text });
  }
}

export function zeroTally(kernel: Kernel): Tally {
  return {
    states: { new: 0, updated: 0, unchanged: 0, incomplete: 0 },
    done: 0,
    whole: new Set(),
    failures: 0,
    current: Buffer.alloc(0),
    peakRssAnonBytes: rssAnonBytes(kernel),
  };
}

function tellRemoved({ options, context }: Parts): (path: Buffer) => void {
  return (path) => {
    if (options.verbose) context.reporter.emit({ type: "entry", path, action: "removed" });
  };
}

/** What the user counts: loose names are a unit of the work, and no snapshot. */
export function countSnapshots({ units }: UnitPlan): number {
  return units.filter(({ type }) => type !== "loose").length;
}

export function migrationListener(
  { plan, context }: Pick<Parts, "plan" | "context">,
  tally: Tally,
): MigrationListener {
  const { reporter } = context;
  const total = countSnapshots(plan);
  const pathOf = (unit: number): Buffer => plan.units[unit]?.path ?? Buffer.alloc(0);
  const isLoose = (unit: number): boolean => plan.units[unit]?.type === "loose";
  return {
    begun: (unit) => {
      if (!isLoose(unit)) tally.current = pathOf(unit);
    },
    unit: ({ unit, state, names, failures }) => {
      if (state !== "incomplete") tally.whole.add(unit);
      const path = pathOf(unit);
      if (isLoose(unit)) {
        if (names > 0 || failures > 0) reporter.emit({ type: "loose", path, state, names, failures });
        return;
      }
      tally.done++;
      tally.states[state]++;
      reporter.emit({
        type: "snapshot",
        path,
        state,
        index: tally.done,
        total,
        names,
        failures,
      });
    },
    failures: (failures) => {
      tally.failures += failures.length;
      for (const failure of failures) reporter.emit({ type: "failure", ...failure });
    },
  };
}

function poolListener(reporter: Reporter, migration: Migration): PoolListener {
  return {
    entries: (entries) => {
      for (const entry of entries) reporter.emit({ type: "entry", ...entry });
    },
    failures: (unit, failures) => {
      migration.failures(unit, failures);
    },
    lateModes: (unit, modes) => {
      migration.lateModes(unit, modes);
    },
    unitDone: (unit, outcome, names) => {
      migration.unitDone(unit, outcome, names);
    },
  };
}

/** Emits progress until the function it returns is called. */
export function reportProgress(
  { kernel, plan, context }: Pick<Parts, "kernel" | "plan" | "context">,
  tally: Tally,
  counters: () => Counters,
): () => void {
  const started = performance.now();
  const timer = setInterval(() => {
    tally.peakRssAnonBytes = Math.max(tally.peakRssAnonBytes, rssAnonBytes(kernel));
    context.reporter.emit({
      type: "progress",
      counters: counters(),
      snapshotsDone: tally.done,
      snapshotsTotal: countSnapshots(plan),
      snapshot: tally.current,
      elapsedMs: performance.now() - started,
    });
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    tally.peakRssAnonBytes = Math.max(tally.peakRssAnonBytes, rssAnonBytes(kernel));
  };
}

export function workRules({
  kernel,
  options,
  source,
  target,
  filter,
}: Pick<Parts, "kernel" | "options" | "source" | "target" | "filter">): WorkRules {
  return {
    ...options,
    filter,
    startSeconds: Math.floor(Date.now() / 1000),
    hasFileMounts: hasFileMounts(kernel, source),
    runSalt: randomBytes(16),
    targetDevice: target.device,
    bwlimitBytes: options.bwlimitBytes,
  };
}
