import { randomBytes } from "node:crypto";
import type { MigrateOptions } from "../options.ts";
import { zeroCounters, type Counters } from "../report/events.ts";
import { openSys as openLinux } from "../sys/linux.ts";
import { SysError } from "../sys/errors.ts";
import { Scratch } from "../sys/scratch.ts";
import type { Kernel } from "../sys/files.ts";
import { openDirectory } from "../sys/files.ts";
import type { SysFactory } from "../sys/sys.ts";
import { XattrCalls } from "../tree/attributes.ts";
import { filterFrom, type FilterRules } from "../tree/filter.ts";
import { readMounts } from "../tree/mounts.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { removeTree } from "../tree/remove.ts";
import { planUnits, type UnitPlan } from "../tree/snapshots.ts";
import { probeTraits, type TargetTraits } from "../tree/traits.ts";
import type { WorkRules } from "../work/messages.ts";
import { Migration, type UnitState } from "../work/migration.ts";
import { Pool } from "../work/pool.ts";
import { Publisher } from "../work/publish.ts";
import { Store, STORE_NAME } from "../../store/store.ts";
import type { CommandContext } from "./context.ts";
import { collectFilter } from "./migrate-filter.ts";
import { checkSpace, noHardLinks, openRoots, targetRefusal, warnings, type Root } from "./preflight.ts";
import { snapshotMatcher } from "./snapshot-glob.ts";

const PROGRESS_MS = 200;

/** Everything a migrate has open. */
export type MigrateRun = {
  options: MigrateOptions;
  plan: UnitPlan;
  store: Store;
  pool: Pool;
  migration: Migration;
  traits: TargetTraits;
  states: Record<UnitState, number>;
  counters(): Counters;
  /** Highest RssAnon of the process seen at the progress ticks. */
  peakRssAnonBytes(): number;
  reportProgress(): () => void;
  close(): Promise<void>;
};

/** Preflight, lock, recovery, plan and threads; nothing of the source is copied yet. @throws DedupeError */
export async function openRun(options: MigrateOptions, context: CommandContext): Promise<MigrateRun> {
  const { kernel, sysModule } = await openKernel(context.sysModule);
  const filter = collectFilter(kernel, options.filters);
  const workers = Pool.boot(options.jobs);
  try {
    return await openWith({ kernel, sysModule, filter, workers }, options, context);
  } catch (error) {
    for (const worker of workers) void worker.terminate();
    throw error;
  }
}

type Begun = Pick<Parts, "kernel" | "sysModule" | "filter" | "workers">;

async function openWith(begun: Begun, options: MigrateOptions, context: CommandContext): Promise<MigrateRun> {
  const { kernel, filter } = begun;
  const { source, target } = openRoots(kernel, options.source, options.target);
  const { reporter } = context;
  reporter.emit({ ...startOf(options), version: context.version });
  for (const notice of warnings(kernel, source, target)) reporter.emit({ type: "notice", ...notice });
  const plan = planSource(kernel, source, options, filter);
  const opened = await openTarget(kernel, target, options);
  return startRun({ ...begun, options, context, source, target, plan, ...opened });
}

function startOf({ source, target, jobs, dryRun }: MigrateOptions) {
  return { type: "start", command: "migrate", source, target, jobs, dryRun } as const;
}

async function openKernel(sysModule: URL | undefined): Promise<{ kernel: Kernel; sysModule: string }> {
  const url = sysModule ?? new URL("../sys/linux.js", import.meta.url);
  const factory = sysModule === undefined ? openLinux : ((await import(url.href)) as { openSys: SysFactory }).openSys;
  const sys = factory();
  sys.umask(0);
  return { kernel: { sys, scratch: new Scratch(sys) }, sysModule: url.href };
}

function planSource(kernel: Kernel, source: Root, options: MigrateOptions, rules: FilterRules | undefined): UnitPlan {
  const filter = rules === undefined ? undefined : filterFrom(rules);
  const plan = planUnits(kernel, source.fd, {
    isSnapshot: options.snapshotsGlob === undefined ? undefined : snapshotMatcher(options.snapshotsGlob),
    takes: (path) => path.toString("latin1") !== STORE_NAME && (filter?.takes(path, "directory") ?? true),
  });
  return plan;
}

/** Makes or opens the store, probes the target and takes over what a killed run left. @throws DedupeError */
async function openTarget(kernel: Kernel, target: Root, options: MigrateOptions): Promise<{ store: Store; traits: TargetTraits }> {
  checkSpace(kernel, target);
  const isNew = !hasStore(kernel, target.fd);
  try {
    const opening = Store.open(kernel, target.fd);
    const { tmpFd } = opening.directories;
    proveHardLinks(kernel, tmpFd, target);
    const traits = probeTraits({ ...kernel, xattrs: new XattrCalls(kernel.sys, kernel.scratch), dirFd: tmpFd });
    const policy = { compared: options.compared, merge: options.merge };
    const store = opening.settle({ policy, granularityNs: traits.granularityNs, indexDir: options.indexDir });
    await store.recover();
    return { store, traits };
  } catch (error) {
    if (isNew && hasStore(kernel, target.fd)) leaveAsFound(kernel, target.fd);
    throw targetRefusal(error, target.path);
  }
}

function hasStore(kernel: Kernel, targetFd: number): boolean {
  try {
    kernel.sys.close(openDirectory(kernel, targetFd, STORE_NAME));
    return true;
  } catch {
    return false;
  }
}

/** A target that was refused keeps nothing of us. */
function leaveAsFound(kernel: Kernel, targetFd: number): void {
  try {
    removeTree(kernel, targetFd, Buffer.from(STORE_NAME));
  } catch {
    // The refusal is what the user must read; an empty directory more is no harm.
  }
}

/** FAT, exFAT and some network filesystems have no hard links: shown by making one. */
function proveHardLinks(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("link-probe.1"), Buffer.from("link-probe.2")];
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  const made = sys.mknodat(dirFd, scratch.at(one), 0o100600, 0);
  if (made < 0) throw new SysError("mknodat", -made, one);
  const linked = sys.linkat(dirFd, scratch.at(one), dirFd, scratch.at(two), 0);
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  if (linked === 0) return;
  const cause = new SysError("linkat", -linked, two);
  const type = readMounts(kernel).find(({ device }) => device === target.device)?.type ?? "a file system";
  throw noHardLinks(target.path, type, cause);
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
  filter: FilterRules | undefined;
  store: Store;
  traits: TargetTraits;
};

async function startRun(parts: Parts): Promise<MigrateRun> {
  const { kernel, options, context, source, target, plan, store, traits } = parts;
  const { reporter } = context;
  const states: Record<UnitState, number> = { new: 0, updated: 0, unchanged: 0, incomplete: 0 };
  let current: Buffer = Buffer.alloc(0);
  let done = 0;
  let mainFailures = 0;
  const publisher = new Publisher(
    kernel,
    { sourceFd: source.fd, targetFd: target.fd, stagingFd: store.directories.stagingFd },
    traits,
    options,
  );
  const migration = new Migration({
    kernel,
    roots: { sourceFd: source.fd, targetFd: target.fd, sourceDevice: source.device },
    store,
    publisher,
    units: plan.units,
    listener: {
      begun: (unit) => {
        current = plan.units[unit]?.path ?? current;
      },
      unit: ({ unit, state, names, failures }) => {
        done++;
        states[state]++;
        const path = plan.units[unit]?.path ?? Buffer.alloc(0);
        reporter.emit({ type: "snapshot", path, state, index: done, total: plan.units.length, names, failures });
      },
      failures: (failures) => {
        mainFailures += failures.length;
        for (const failure of failures) reporter.emit({ type: "failure", ...failure });
      },
    },
  });
  migration.sweep();
  const setup = { sysModule: parts.sysModule, store: store.shared, traits, rules: workRules(parts) };
  const pool = await Pool.start(parts.workers, setup, {
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
  });
  const counters = (): Counters => ({ ...zeroCounters(), ...pool.counters.sum(), deletedNames: migration.deletedNames, failures: mainFailures });
  const started = performance.now();
  let peak = rssAnonBytes(kernel);
  return {
    options,
    plan,
    store,
    pool,
    migration,
    traits,
    states,
    counters,
    peakRssAnonBytes: () => (peak = Math.max(peak, rssAnonBytes(kernel))),
    reportProgress: () => {
      const timer = setInterval(() => {
        peak = Math.max(peak, rssAnonBytes(kernel));
        const elapsedMs = performance.now() - started;
        const total = plan.units.length;
        reporter.emit({ type: "progress", counters: counters(), snapshotsDone: done, snapshotsTotal: total, snapshot: current, elapsedMs });
      }, PROGRESS_MS);
      return () => {
        clearInterval(timer);
      };
    },
    close: async () => {
      await pool.close();
      await store.close();
    },
  };
}

function workRules({ kernel, options, source, target, filter }: Parts): WorkRules {
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

/** A file bind-mounted over another shows the covered inode's number in its directory. */
function hasFileMounts(kernel: Kernel, source: Root): boolean {
  const prefix = source.path.replace(/\/*$/, "/");
  const { sys, scratch } = kernel;
  return readMounts(kernel).some(({ point }) => {
    if (!point.startsWith(prefix)) return false;
    const fd = sys.openat(-100, scratch.text(point), sys.O_DIRECTORY | 0o10000000, 0);
    if (fd >= 0) sys.close(fd);
    return fd < 0;
  });
}

