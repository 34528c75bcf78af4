import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { PLAN_VARIABLE, type FaultPlan, type TracedCall } from "./faults/plan.ts";
import { repositoryRoot } from "./repository-root.ts";

const runner = join(repositoryRoot, "dist/faults/run.js");
/** Nothing here takes longer, unless it hangs. */
const hangMs = 150_000;

export interface RunOptions {
  /** Without a plan the installed program runs; with one, even empty, the one behind the faulty door. */
  readonly plan?: FaultPlan;
  readonly args?: readonly string[];
  /** SIGKILL so long after the start. */
  readonly killAfterMs?: number;
}

export interface RunResult {
  /** null: killed. */
  readonly code: number | null;
  readonly hung: boolean;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
  readonly failures: readonly { readonly path: string; readonly code: string; readonly message: string }[];
  readonly summary: Summary | undefined;
}

export interface Summary {
  readonly outcome: string;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly createdInodes: number;
  readonly failures: number;
  readonly lostXattrs: number;
  readonly error?: { readonly code: string; readonly message: string };
  readonly snapshots: Readonly<Record<string, number>>;
}

/** `dedupe migrate --json SOURCE TARGET`, in a process of its own. */
export async function migrate(source: string, target: string, options: RunOptions = {}): Promise<RunResult> {
  return faultyRun(["migrate", "--json", ...(options.args ?? []), source, target], options);
}

/** `dedupe relink --json ROOT`, in a process of its own. */
export async function relink(root: string, options: RunOptions = {}): Promise<RunResult> {
  return faultyRun(["relink", "--json", ...(options.args ?? []), root], options);
}

/** `dedupe compact --json TARGET`, in a process of its own. */
export async function compact(target: string, options: RunOptions = {}): Promise<RunResult> {
  return faultyRun(["compact", "--json", ...(options.args ?? []), target], options);
}

/** `dedupe verify --json TARGET`, in a process of its own. */
export async function verify(target: string, options: RunOptions = {}): Promise<RunResult> {
  return faultyRun(["verify", "--json", ...(options.args ?? []), target], options);
}

async function faultyRun(args: readonly string[], options: RunOptions): Promise<RunResult> {
  const { plan, killAfterMs } = options;
  const program = plan === undefined ? join(repositoryRoot, "bin/dedupe.js") : runner;
  const env = { ...process.env, ...(plan === undefined ? {} : { [PLAN_VARIABLE]: JSON.stringify(plan) }) };
  const argv = [program, ...args];
  const child = spawn(process.execPath, argv, { env, stdio: ["ignore", "pipe", "pipe"] });
  const started = performance.now();
  let [stdout, stderr, hung] = ["", "", false];
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const kill = killAfterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  const patience = setTimeout(() => {
    hung = true;
    child.kill("SIGKILL");
  }, hangMs);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearTimeout(kill);
  clearTimeout(patience);
  return { code, hung, stdout, stderr, ms: performance.now() - started, ...readEvents(stdout) };
}

type JsonEvent = { type: string; path?: string; code?: string; message?: string };

/** The last line of a killed run may be half a line. */
function readEvents(stdout: string): Pick<RunResult, "failures" | "summary"> {
  const events = stdout.split("\n").flatMap((line): JsonEvent[] => {
    try {
      return [JSON.parse(line) as JsonEvent];
    } catch {
      return [];
    }
  });
  const failures = events.filter(({ type }) => type === "failure");
  const summary = events.find(({ type }) => type === "summary");
  return { failures: failures as RunResult["failures"][number][], summary: summary as Summary | undefined };
}

export function readTrace(file: string): TracedCall[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line) as TracedCall);
}

/** What lies in the store's work folders: nothing, after a run that finished. */
export function leftovers(target: string): string[] {
  return ["staging", "tmp"].flatMap((folder) => {
    const path = join(target, ".dedupe", folder);
    return existsSync(path) ? readdirSync(path).map((name) => `${folder}/${name}`) : [];
  });
}
