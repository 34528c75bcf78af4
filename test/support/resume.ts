import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { migrate, readTrace, type RunResult } from "./faulty-run.ts";
import type { FaultPlan } from "./faults/plan.ts";
import { compareTrees, manifest } from "./oracle.ts";

/** Runs with every read of the source counted at the system call. */
export async function countedRun(
  source: string,
  target: string,
  options: { args?: readonly string[]; killAfterMs?: number } = {},
): Promise<{ result: RunResult; bytesRead: number }> {
  const folder = mkdtempSync("/tmp/dedupe-reads-");
  const file = join(folder, "trace");
  const plan: FaultPlan = { trace: { file, path: `${source}/`, calls: ["pread", "read", "copyFileRange"] } };
  const result = await migrate(source, target, { ...options, plan });
  const bytesRead = readTrace(file).reduce((sum, call) => sum + Math.max(0, call.result), 0);
  rmSync(folder, { recursive: true });
  return { result, bytesRead };
}

/** `count` moments spread evenly over a run's time, none at its very ends. */
export function moments(count: number): number[] {
  return Array.from({ length: count }, (_, index) => (index + 0.5) / count);
}

/** Largest file and sum of all inodes' sizes. */
export function contentOf(root: string): { largest: number; total: number } {
  const sizes = new Map<string, number>();
  for (const entry of manifest(root)) if (entry.type === "file") sizes.set(entry.inode, entry.size);
  return {
    largest: Math.max(...sizes.values()),
    total: [...sizes.values()].reduce((sum, size) => sum + size, 0),
  };
}

export function differences(source: string, target: string): string[] {
  return compareTrees(source, target, { mergedOk: true }).map((each) => JSON.stringify(each));
}
