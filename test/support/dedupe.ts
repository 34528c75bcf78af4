import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Summary } from "../../src/report/events.ts";
import { makeFilesystem, requireFilesystem } from "./filesystem.ts";
import { repositoryRoot } from "./repository-root.ts";

/** The program as installed: what a user starts. */
export const dedupeScript = join(repositoryRoot, "bin", "dedupe.js");

export interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunSettings {
  readonly uid?: number;
  readonly gid?: number;
  readonly cwd?: string;
  /** What it can read from standard input. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Runs the program to its end. */
export function dedupe(args: readonly string[], settings: RunSettings = {}): Run {
  const { status, stdout, stderr } = spawnSync(process.execPath, [dedupeScript, ...args], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: environment,
    ...settings,
  });
  return { code: status, out: stdout, err: stderr };
}

/** `dedupe migrate`, without a progress line. */
export function migrate(source: string, target: string, ...options: string[]): Run {
  return dedupe(["migrate", "--no-progress", ...options, source, target]);
}

export type JsonEvent = Record<string, unknown> & { readonly type: string };
export type JsonRun = Run & { readonly events: readonly JsonEvent[]; readonly summary: Summary };

/** `dedupe migrate --json`, its events parsed; the summary is the last of them. */
export function migrateJson(args: readonly string[], settings: RunSettings = {}): JsonRun {
  const run = dedupe(["migrate", "--json", "--no-progress", ...args], settings);
  const lines = run.out.split("\n").filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line) as JsonEvent);
  return { ...run, events, summary: events.at(-1) as unknown as Summary };
}

/** Starts the program and leaves it running. */
export function startDedupe(args: readonly string[]): { process: ChildProcess; ended: Promise<Run> } {
  const started = spawn(process.execPath, [dedupeScript, ...args], { env: environment });
  let [out, err] = ["", ""];
  started.stdout.on("data", (part: Buffer) => (out += part.toString()));
  started.stderr.on("data", (part: Buffer) => (err += part.toString()));
  const ended = new Promise<Run>((resolve) => {
    started.on("close", (code) => resolve({ code, out, err }));
  });
  return { process: started, ended };
}

/** No colours and no locale of the machine's own. */
const environment = { PATH: process.env["PATH"], LC_ALL: "C", TERM: "dumb" };

/** A folder for a test file's trees that every user may enter. */
export interface Workplace {
  readonly path: string;
  close(): void;
}

/** On an ext4 of its own where this machine can: whole, with a journal, and with an identity that lasts. */
export function makeWorkplace(sizeBytes = 2 ** 29): Workplace {
  if (!requireFilesystem("ext4")) {
    const path = mkdtempSync(join(tmpdir(), "dedupe-work-"));
    return { path, close: () => rmSync(path, { recursive: true, force: true }) };
  }
  const filesystem = makeFilesystem({ type: "ext4", sizeBytes });
  const { mountPoint } = filesystem;
  for (const folder of [join(mountPoint, ".."), mountPoint]) chmodSync(folder, 0o755);
  return { path: mountPoint, close: () => filesystem.close() };
}
