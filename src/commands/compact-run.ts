import type { CompactOptions, WithTarget } from "../options.ts";
import type { CompactFigures, CompactStep } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import { identifyFilesystem } from "../tree/identity.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { Compaction } from "../compact/compaction.ts";
import type { CompactFinding, CompactTold, OwnTask } from "../compact/messages.ts";
import { CompactState } from "../compact/state.ts";
import { executeSweep, planSweep, sweptPath } from "../compact/sweep.ts";
import { sweptInodes } from "../compact/swept-inodes.ts";
import type { RelinkRules, StockFiles } from "../relink/messages.ts";
import { RelinkPool } from "../relink/relink-pool.ts";
import { closeStockFiles, openStockFiles } from "../relink/stock-files.ts";
import type { IndexFigures } from "../../store/store.ts";
import { dismissThreads, entryPoint } from "../entry-points.ts";
import type { Failure } from "../work/messages.ts";
import { adoptedBy, figuresOf } from "./compact-figures.ts";
import { openForCare, openToLook, type CompactTarget } from "./compact-target.ts";
import type { CommandContext } from "./context.ts";
import { becomeIdle } from "./idle.ts";
import { jobsFor } from "./jobs.ts";
import { isLeftAlone } from "./left-alone.ts";
import { openKernel } from "./migrate-run.ts";
import { openNamed, targetWarnings, tellNotices, type Root } from "./preflight.ts";
import { freeBytesOf, planRoot, rulesOf } from "./relink-root.ts";
import { tellNames } from "./relink-run.ts";
import { startTimeLimit } from "./time-limit.ts";

const PROGRESS_MS = 200;

/** What a compact has found and done so far, beyond what its threads count. */
type Watch = {
  step: CompactStep | "look";
  findings: Record<string, number>;
  affectedNames: number;
  leftAlone: number;
  failures: number;
  peakRssAnonBytes: number;
  index: IndexFigures | undefined;
};

/** Everything a compact has open. */
export type CompactRun = {
  options: WithTarget<CompactOptions>;
  pool: RelinkPool<OwnTask, CompactTold>;
  compaction: Compaction;
  watch: Watch;
  /** As planned (before anything was done), or as done. */
  figures(what: "planned" | "done"): CompactFigures;
  /** Carries the sweep out. @returns whether names went */
  sweep(): boolean;
  /** Everything durable, and rows of it in the index. */
  seal(): Promise<void>;
  /** Ends the threads: nobody else may have the index open. A dry run says what would be left of it. */
  compactIndex(): Promise<void>;
  reportProgress(): () => void;
  startTimeLimit(): NodeJS.Timeout | undefined;
  close(): Promise<void>;
};

/** Preflight, lock, what a killed run left, threads; nothing else is changed yet. @throws DedupeError */
export async function openCompact(
  asked: WithTarget<CompactOptions>,
  context: CommandContext,
): Promise<CompactRun> {
  const { kernel, sysModule } = await openKernel(context.sysModule);
  if (asked.priority === "idle") becomeIdle(kernel.sys);
  const root = openNamed(kernel, asked.target, "target");
  const options = { ...asked, jobs: jobsFor(kernel, asked, root) };
  const workers = RelinkPool.boot(options.jobs, entryPoint("compact-worker"));
  try {
    return await openWith({ kernel, sysModule, workers, root, options, context });
  } catch (error) {
    dismissThreads(workers);
    throw error;
  }
}

async function openWith(begun: Omit<Parts, "opened">): Promise<CompactRun> {
  const { kernel, root, options, context } = begun;
  const { reporter, version } = context;
  const { jobs, dryRun, target } = options;
  reporter.emit({ type: "start", command: "compact", version, target, jobs, dryRun });
  tellNotices(reporter, targetWarnings(kernel, root));
  const opened = await (dryRun ? openToLook : openForCare)(kernel, root, options);
  tellNotices(reporter, opened.notices);
  return startCompact({ ...begun, opened });
}

type Parts = {
  kernel: Kernel;
  sysModule: string;
  workers: ReturnType<typeof RelinkPool.boot>;
  options: WithTarget<CompactOptions>;
  context: CommandContext;
  root: Root;
  opened: CompactTarget;
};

async function startCompact(parts: Parts): Promise<CompactRun> {
  const { kernel, sysModule, options, context, root, opened } = parts;
  const watch: Watch = {
    ...{ step: "look", findings: {}, affectedNames: 0, leftAlone: 0, failures: 0 },
    ...{ peakRssAnonBytes: rssAnonBytes(kernel), index: undefined },
  };
  const state = new CompactState((finding) => {
    tellFinding(context, watch, finding);
  });
  const files = openStockFiles(kernel, opened.stockFd, options.jobs);
  const rules = rulesOf(kernel, root, chosenFor(parts));
  const setup = { sysModule, rootFd: root.fd, files, rules };
  const listener = { ...listenerOf(parts, { watch, state }), workers: parts.workers };
  const pool = await RelinkPool.start<OwnTask, CompactTold>(options.jobs, setup, listener);
  await pool.tellAll({ type: "store", store: opened.shared });
  const sweeping = planSweeping(parts, watch);
  const compaction = openCompaction(parts, { watch, state, files, pool, rules, sweeping });
  return {
    ...{ options, pool, compaction, watch },
    figures: (what) => figuresOf({ compaction, state, index: watch.index, sweeping: sweeping.items }, what),
    sweep: sweeping.execute,
    seal: async () => {
      await opened.store?.seal();
      await opened.store?.sync();
    },
    compactIndex: async () => {
      watch.step = "index";
      await pool.close();
      watch.index = await compactIndex(opened, state, compaction);
    },
    reportProgress: () => reportProgress(parts, { pool, state, compaction, watch }),
    startTimeLimit: () => startTimeLimit(options, pool.control),
    close: async () => {
      await pool.close();
      compaction.close();
      closeStockFiles(kernel, files);
      await opened.close();
    },
  };
}

function compactIndex(
  { store, weighIndex }: CompactTarget,
  { hasTakenNames }: CompactState,
  compaction: Compaction,
): Promise<IndexFigures> | undefined {
  if (store !== undefined) return store.compactIndex(hasTakenNames ? "names went" : "none");
  return weighIndex?.((row) => compaction.keepsRow(row));
}

/** What may be merged, by the rules that the store was made by. */
function chosenFor({ opened, options: { bwlimitBytes } }: Parts): Parameters<typeof rulesOf>[2] {
  const { filter, ...sizes } = opened.selection;
  return { options: { ...opened.policy, ...wholeTree, ...sizes, bwlimitBytes }, filter };
}

type Started = {
  watch: Watch;
  state: CompactState;
  files: StockFiles;
  pool: RelinkPool<OwnTask, CompactTold>;
  rules: RelinkRules;
  sweeping: ReturnType<typeof planSweeping>;
};

function openCompaction(parts: Parts, { watch, state, files, pool, rules, sweeping }: Started): Compaction {
  const { kernel, options, context, root, opened } = parts;
  const memory = kernel.sys.allocate(512);
  const chosen = chosenFor(parts);
  return new Compaction({
    ...{ kernel, pool, files, rules, state, rootFd: root.fd, stockFd: opened.stockFd },
    ...{ linkLimit: opened.linkLimit, store: opened.store, steps: new Set(options.steps) },
    ...{ objectsFd: opened.directories.objectsFd, groupsFd: opened.directories.groupsFd },
    units: planRoot(kernel, root, chosen).units,
    allUnits: planRoot(kernel, root, { ...chosen, filter: undefined }).units,
    trustsDirentIno: identifyFilesystem(kernel.sys, root.fd, root.device, memory).trustsDirentIno,
    recordsAtOnce: options.timeLimitMs !== undefined,
    freeBytes: () => freeBytesOf(kernel, root.fd),
    failed: (failure) => {
      watch.failures++;
      context.reporter.emit({ type: "failure", ...failure });
    },
    begun: (step) => (watch.step = step),
    swept: sweeping.inodes,
    batchDone: (batch, pathOf) => {
      if (options.verbose) tellNames(context, batch, pathOf);
    },
  });
}

const wholeTree = { oneFileSystem: true, snapshotsGlob: undefined };

function listenerOf(
  { context: { reporter }, options: { verbose } }: Parts,
  { watch, state }: { watch: Watch; state: CompactState },
): Parameters<typeof RelinkPool.start<OwnTask, CompactTold>>[2] {
  return {
    failures: (failures) => {
      for (const failure of failures)
        if (!isLeftAlone(failure)) {
          watch.failures++;
          reporter.emit({ type: "failure", ...failure });
        } else {
          watch.leftAlone++;
          const message = `${failure.path.toString()}: ${failure.message}`;
          if (verbose) reporter.emit({ type: "notice", level: "info", code: "LEFT_ALONE", message });
        }
    },
    told: (told) => {
      state.take(told);
    },
    met: (path, inode) => {
      watch.affectedNames++;
      const object = state.objectOf(inode);
      reporter.emit({ type: "affected", path, ...(object === undefined ? {} : { object }) });
    },
  };
}

function tellFinding({ reporter }: CommandContext, watch: Watch, finding: CompactFinding): void {
  const { path, class: name, source, target } = finding;
  watch.findings[name] = (watch.findings[name] ?? 0) + 1;
  const values = { ...(source === undefined ? {} : { source }), ...(target === undefined ? {} : { target }) };
  reporter.emit({ type: "finding", path, class: name, isFinding: true, ...values });
}

function planSweeping({ kernel, options, opened, context }: Parts, watch: Watch) {
  const parts = {
    ...{ kernel, directories: opened.directories, compared: opened.policy.compared },
    forgetsUnfinished: options.forgetUnfinished,
  };
  const items = options.steps.includes("sweep") ? planSweep(parts) : [];
  for (const item of items.filter(({ verdict }) => verdict === "unknown"))
    tellFinding(context, watch, { path: sweptPath(item), class: "leftover" });
  return {
    items,
    inodes: () => sweptInodes(parts, { items, stockFd: opened.stockFd }),
    execute: (): boolean => {
      watch.step = "sweep";
      opened.store?.expectChanges();
      const failed = (failure: Failure): void => {
        watch.failures++;
        context.reporter.emit({ type: "failure", ...failure });
      };
      return executeSweep(parts, items, failed) > 0;
    },
  };
}

type Progressing = Pick<CompactRun, "pool" | "compaction" | "watch"> & { state: CompactState };

/** Emits progress until the function it returns is called. */
function reportProgress({ kernel, context }: Parts, run: Progressing): () => void {
  const { pool, compaction, watch, state } = run;
  const started = performance.now();
  const measure = (): void => {
    watch.peakRssAnonBytes = Math.max(watch.peakRssAnonBytes, rssAnonBytes(kernel));
  };
  const timer = setInterval(() => {
    measure();
    const { names } = compaction.walked;
    const { readBytes } = pool.tally.sum();
    const freedBytes = adoptedBy(compaction).freedBytes + state.counts.prunedBytes;
    const counters = { names, readBytes, freedBytes, objects: state.counts.objects };
    const elapsedMs = performance.now() - started;
    context.reporter.emit({ type: "compact-progress", step: watch.step, counters, elapsedMs });
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    measure();
  };
}
