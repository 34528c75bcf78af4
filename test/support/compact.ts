import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { CompactSummary } from "../../src/report/events.ts";
import { dedupe } from "./dedupe.ts";
import { manifest } from "./oracle.ts";

export interface CompactRun {
  readonly code: number | null;
  readonly summary: CompactSummary;
  readonly events: readonly (Record<string, unknown> & { readonly type: string; readonly path?: string })[];
  readonly err: string;
}

/** `dedupe compact --json`, whatever its exit code; without a summary it throws. Not idle: tests share a machine. */
export function compact(target: string, ...options: readonly string[]): CompactRun {
  const usual = ["compact", "--json", "--priority", "normal", "-j", "1"];
  const { code, out, err } = dedupe([...usual, ...options, target]);
  const events = out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as CompactRun["events"][number]);
  const summary = events.find(({ type }) => type === "summary");
  if (summary === undefined) throw new Error(`compact ended with ${String(code)}: ${err}${out}`);
  return { code, summary: summary as unknown as CompactSummary, events, err };
}

/** As compact, of which nothing but success is accepted. */
export function compactWell(target: string, ...options: readonly string[]): CompactRun {
  const run = compact(target, ...options);
  if (run.code === 0) return run;
  const told = run.events.filter(({ type }) => type === "failure" || type === "finding").slice(0, 20);
  throw new Error(`compact ended with ${String(run.code)}\n${run.err}\n${JSON.stringify(told)}`);
}

/** Names of the store's objects, as "ab/cdef…", and the inodes they are. */
export function objectsOf(target: string): Map<string, string> {
  return new Map(
    manifest(join(target, ".dedupe", "objects"))
      .filter(({ type }) => type !== "directory")
      .map(({ path, inode }) => [path, inode]),
  );
}

/** What is wrong between the names of the snapshots and the store: nothing, after a compact. */
export function mismatches(target: string): string[] {
  const objects = objectsOf(target);
  const stored = new Set(objects.values());
  const named = manifest(target).filter(({ path }) => path !== ".dedupe" && !path.startsWith(".dedupe/"));
  const inTree = new Set(named.map(({ inode }) => inode));
  return [
    ...named
      .filter(({ type, size, inode }) => type === "file" && size > 0 && !stored.has(inode))
      .map(({ path }) => `${path} has no object`),
    ...[...objects].filter(([, inode]) => !inTree.has(inode)).map(([path]) => `${path} has no name`),
  ];
}

export function isEmptyFolder(path: string): boolean {
  return readdirSync(path).length === 0;
}
