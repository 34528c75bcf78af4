import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { RelinkSummary } from "../../src/report/events.ts";
import { dedupe } from "./dedupe.ts";
import { compareTrees, manifest, type CompareOptions, type Difference } from "./oracle.ts";

export interface RelinkRun {
  readonly code: number | null;
  readonly summary: RelinkSummary;
  readonly events: readonly {
    readonly type: string;
    readonly code?: string;
    readonly path?: string;
    readonly message?: string;
  }[];
  readonly err: string;
}

/** `dedupe relink --json`, whatever its exit code; without a summary it throws. */
export function relink(...args: readonly string[]): RelinkRun {
  const { code, out, err } = dedupe(["relink", "--json", ...args]);
  const events = out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as RelinkRun["events"][number]);
  const summary = events.find(({ type }) => type === "summary");
  if (summary === undefined) throw new Error(`relink ended with ${String(code)}: ${err}${out}`);
  return { code, summary: summary as unknown as RelinkSummary, events, err };
}

/** As relink, of which nothing but success is accepted. */
export function relinkWell(...args: readonly string[]): RelinkRun {
  const run = relink(...args);
  if (run.code === 0) return run;
  const failures = run.events.filter(({ type }) => type === "failure").slice(0, 20);
  throw new Error(`relink ended with ${String(run.code)}\n${run.err}\n${JSON.stringify(failures)}`);
}

/** A copy as people make it by accident: without -H every name becomes an inode of its own. */
export function inflate(source: string, root: string, ...more: readonly string[]): void {
  mkdirSync(root, { recursive: true });
  execFileSync("rsync", ["-aAX", ...more, `${source}/`, `${root}/`]);
  // rsync compares times by the second, and the root was made just now.
  execFileSync("touch", ["-r", source, root]);
}

/**
 * What differs from the tree as it was. Groups of symlinks and empty files are lost with the inflation: relink makes
 * one only of what has content.
 */
export function healedDifferences(source: string, root: string, limits: CompareOptions = {}): Difference[] {
  return compareTrees(source, root, { mergedOk: true, ...limits }).filter(
    ({ class: kind, path }) => kind !== "group-split" || hasContent(join(source, path)),
  );
}

function hasContent(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isFile() && stat.size > 0;
}

/** st_blocks of all inodes but directories, each counted once, in bytes. */
export function diskBytes(root: string): number {
  const seen = new Map(
    manifest(root)
      .filter(({ type }) => type !== "directory")
      .map(({ inode, blocks }) => [inode, blocks]),
  );
  return [...seen.values()].reduce((sum, blocks) => sum + blocks * 512, 0);
}

/** Which names of regular files with content are one inode: the partition, as sorted lists. */
export function partition(root: string): string[] {
  const groups = new Map<string, string[]>();
  for (const { type, size, inode, path } of manifest(root)) {
    if (type !== "file" || size === 0) continue;
    groups.set(inode, [...(groups.get(inode) ?? []), path]);
  }
  return [...groups.values()].map((names) => names.sort().join("\n")).sort();
}
