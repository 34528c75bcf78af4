import { tmpdir } from "node:os";
import { exitCodes, signalExitCodes } from "../exit-codes.ts";
import type { VerifyOptions, WithTarget } from "../options.ts";
import { zeroCounters, type VerifySummary } from "../report/events.ts";
import { readOnlySys } from "../sys/read-only.ts";
import type { Kernel } from "../sys/files.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { hasMountsBelow } from "../tree/reach.ts";
import { isAllowed, type DifferenceClass } from "../verify/compare.ts";
import { zeroTally, type Tally } from "../verify/control.ts";
import { Crew, CrewFailure, type CrewListener } from "../verify/crew.ts";
import type { Failure, Finding, TreeRoot, WorkerSetup } from "../verify/messages.ts";
import { noParts, type Parts } from "../verify/trees.ts";
import { whenStopped, type CommandContext, type StopReason } from "./context.ts";
import { jobsFor } from "./jobs.ts";
import { openKernel } from "./migrate-run.ts";
import type { Root } from "./preflight.ts";

const PROGRESS_MS = 200;
/** RLIMIT_NOFILE: a thread holds a descriptor for each level it is deep. */
const RLIMIT_NOFILE = 7;

/** What a verify has found, and what it is doing. */
export type VerifyRun = {
  options: WithTarget<VerifyOptions>;
  context: CommandContext;
  /** Cannot write. */
  kernel: Kernel;
  /** For what verify itself leaves behind: a certificate, a slice's record. */
  writer: Kernel;
  sysModule: string;
  jobs: number;
  startedAt: Date;
  started: number;
  findings: Record<string, number>;
  notes: Record<string, number>;
  affectedNames: number;
  failures: number;
  /** Of --repair. */
  repaired: { objects: number; names: number; bytes: number };
  unrepaired: number;
  parts: Parts;
  tally: Tally;
  peakRssAnonBytes: number;
};

export async function openVerify(
  options: WithTarget<VerifyOptions>,
  context: CommandContext,
): Promise<VerifyRun> {
  const { kernel: writer, sysModule } = await openKernel(context.sysModule);
  raiseDescriptorLimit(writer);
  return {
    ...{ options, context, writer, sysModule, jobs: options.jobs },
    kernel: { sys: readOnlySys(writer.sys), scratch: writer.scratch },
    startedAt: new Date(),
    started: performance.now(),
    findings: {},
    notes: {},
    affectedNames: 0,
    failures: 0,
    repaired: { objects: 0, names: 0, bytes: 0 },
    unrepaired: 0,
    parts: noParts(),
    tally: zeroTally(),
    peakRssAnonBytes: rssAnonBytes(writer),
  };
}

/** As far as this process may. */
function raiseDescriptorLimit({ sys }: Kernel): void {
  const memory = sys.allocate(16);
  const limits = new BigUint64Array(memory.bytes.buffer, memory.bytes.byteOffset, 2);
  if (sys.getrlimit(RLIMIT_NOFILE, memory.address) < 0) return;
  limits[0] = limits[1] as bigint;
  sys.setrlimit(RLIMIT_NOFILE, memory.address);
}

/** Of the trees that are read follows how many threads it takes. */
export function reportStart(run: VerifyRun, ...trees: readonly Root[]): void {
  const { kernel, options, context } = run;
  run.jobs = jobsFor(kernel, options, ...trees);
  context.reporter.emit({
    type: "start",
    command: "verify",
    version: context.version,
    target: options.target,
    ...(options.against === undefined ? {} : { source: options.against }),
    jobs: run.jobs,
    dryRun: false,
  });
}

/** A root as workers need it. */
export function treeRoot(kernel: Kernel, root: Root): TreeRoot {
  return { fd: root.fd, device: root.device, isPlain: !hasMountsBelow(kernel, root) };
}

/** `allowed` classes are said and are no findings. */
export function tellFinding(run: VerifyRun, finding: Finding, kind: "finding" | "note"): void {
  const counts = kind === "finding" ? run.findings : run.notes;
  counts[finding.class] = (counts[finding.class] ?? 0) + 1;
  const isPath = finding.class === "symlink-target" || finding.class === "deleted";
  const value = (text: string): string | Buffer => (isPath ? Buffer.from(text, "latin1") : text);
  run.context.reporter.emit({
    type: "finding",
    path: finding.path,
    class: finding.class,
    isFinding: kind === "finding",
    ...(finding.name === undefined ? {} : { name: Buffer.from(finding.name, "latin1") }),
    ...(finding.source === undefined ? {} : { source: value(finding.source) }),
    ...(finding.target === undefined ? {} : { target: value(finding.target) }),
  });
}

export function tellDifference(run: VerifyRun, finding: Finding): void {
  tellFinding(run, finding, isAllowed(finding.class as DifferenceClass) ? "note" : "finding");
}

type Work = Pick<WorkerSetup, "ledger" | "trees" | "store">;
/** What is not told here goes to the reporter. */
type Told = Pick<CrewListener, "findings"> & Partial<CrewListener>;

export type Ending =
  { type: "finished" } | { type: "stopped"; exitCode: number } | { type: "failed"; error: CrewFailure };

/** Starts the workers, has `work` use them, and ends them. @throws bugs */
export async function withCrew(
  run: VerifyRun,
  setup: Work,
  told: Told,
  work: (crew: Crew) => Promise<void>,
): Promise<Ending> {
  const { options, context, sysModule } = run;
  const crew = await Crew.start(
    run.jobs,
    {
      ...{ ...setup, sysModule },
      temporaryDirectory: tmpdir(),
      bwlimitBytes: options.bwlimitBytes,
      verbose: options.verbose,
    },
    { ...listener(run), ...told },
  );
  const stopProgress = reportProgress(run, crew);
  const letGo = whenStopped(context.stop, () => {
    crew.stop();
  });
  try {
    await work(crew);
    if (!context.stop.aborted) return { type: "finished" };
    const { signal } = context.stop.reason as StopReason;
    return { type: "stopped", exitCode: signalExitCodes[signal] };
  } catch (error) {
    if (error instanceof CrewFailure) return { type: "failed", error };
    throw error;
  } finally {
    letGo();
    stopProgress();
    run.tally = crew.tally;
    await crew.close();
  }
}

export function tellFailure(run: VerifyRun, { path, code, message }: Failure): void {
  run.failures++;
  run.context.reporter.emit({ type: "failure", path, code, message });
}

export function tellAffected(run: VerifyRun, path: Buffer): void {
  run.affectedNames++;
  run.context.reporter.emit({ type: "affected", path });
}

function listener(run: VerifyRun): Omit<CrewListener, "findings"> {
  const { reporter } = run.context;
  return {
    failures: (failures) => {
      for (const failure of failures) tellFailure(run, failure);
    },
    looked: (looked) => {
      for (const each of looked) reporter.emit({ type: "entry", ...each });
    },
    affected: (affected) => {
      for (const { path } of affected) tellAffected(run, path);
    },
  };
}

function reportProgress(run: VerifyRun, crew: Crew): () => void {
  const { context, parts, started } = run;
  const sample = (): void => {
    run.peakRssAnonBytes = Math.max(run.peakRssAnonBytes, rssAnonBytes(run.kernel));
  };
  const timer = setInterval(() => {
    sample();
    const { names, directories, inodes, contentBytes, readBytes } = crew.tally;
    context.reporter.emit({
      type: "progress",
      counters: { ...zeroCounters(), names, directories, inodes, contentBytes, readBytes },
      snapshotsDone: parts.done,
      snapshotsTotal: parts.begun,
      snapshot: parts.current,
      elapsedMs: performance.now() - started,
      unit: "part",
    });
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    sample();
  };
}

type Specific = Pick<VerifySummary, "mode"> &
  Partial<
    Pick<
      VerifySummary,
      "slice" | "quick" | "rootDigest" | "certificate" | "source" | "repaired" | "unrepaired"
    >
  >;

export function summarise(run: VerifyRun, ending: Ending, specific: Specific): VerifySummary {
  const { tally, findings, notes, affectedNames, failures } = run;
  const { merged, ...counts } = tally;
  const outcome = outcomeOf(run, ending);
  return {
    type: "summary",
    command: "verify",
    ...counts,
    ...{ mergedInodes: merged, affectedNames, failures, findings, notes },
    ...specific,
    outcome,
    exitCode: codeOf(outcome, ending),
    target: run.options.target,
    elapsedMs: performance.now() - run.started,
    peakRssAnonBytes: run.peakRssAnonBytes,
    ...(ending.type === "failed" ? { error: errorOf(ending.error) } : {}),
  };
}

function outcomeOf(run: VerifyRun, ending: Ending): VerifySummary["outcome"] {
  if (ending.type !== "finished") return ending.type;
  if (Object.keys(run.findings).length > 0 || run.unrepaired > 0) return "findings";
  if (run.failures > 0) return "partial";
  return run.repaired.objects > 0 ? "repaired" : "sound";
}

function codeOf(outcome: VerifySummary["outcome"], ending: Ending): number {
  if (ending.type === "stopped") return ending.exitCode;
  switch (outcome) {
    case "findings":
      return exitCodes.findings.code;
    case "partial":
      return exitCodes.partial.code;
    case "failed":
    case "stopped":
      return exitCodes.failed.code;
    case "sound":
    case "repaired":
      return exitCodes.ok.code;
  }
}

function errorOf({ code, message }: CrewFailure): { code: string; message: string; hint: string } {
  return { code, message, hint: "Check the drive and its cable, then run the same command again." };
}
