import type { Summary } from "../../src/report/events.ts";
import { migrateJson, type JsonRun } from "./dedupe.ts";
import { manifest } from "./oracle.ts";

/** As migrateJson, of which nothing but success is accepted. */
export function migrateWell(...args: readonly string[]): JsonRun {
  const run = migrateJson(args);
  if (run.code === 0) return run;
  const failures = run.events.filter(({ type }) => type === "failure" || type === "error").slice(0, 20);
  const listed = failures.map((failure) => JSON.stringify(failure)).join("\n");
  throw new Error(`dedupe ended with ${String(run.code)}\n${run.err}\n${listed}\n${run.out.slice(-2000)}`);
}

/** What a run did, by the counters that must be zero where nothing had changed. */
export function workDone({ snapshots, ...counters }: Summary) {
  const { readBytes, writtenBytes, createdInodes, linkedNames, siblings, deletedNames, failures } = counters;
  const { updated, incomplete, pending } = snapshots;
  const units = { new: snapshots.new, updated, incomplete, pending };
  return { readBytes, writtenBytes, createdInodes, linkedNames, siblings, deletedNames, failures, ...units };
}

export const nothingDone: ReturnType<typeof workDone> = {
  readBytes: 0,
  writtenBytes: 0,
  createdInodes: 0,
  linkedNames: 0,
  siblings: 0,
  deletedNames: 0,
  failures: 0,
  new: 0,
  updated: 0,
  incomplete: 0,
  pending: 0,
};

/** Which inode each name is and when that was last changed in any way: equal means untouched. */
export function fingerprint(root: string): string[] {
  return manifest(root).map(({ path, inode, ctimeNs, mtimeNs, nlink }) =>
    [path, inode, ctimeNs, mtimeNs, nlink].join(" "),
  );
}

/** The source as it must stay: with access times, which copying would otherwise move. */
export function untouched(root: string): string[] {
  return manifest(root).map(({ path, type, inode, ctimeNs, mtimeNs, atimeNs, nlink, size }) =>
    // Reading a symlink moves its atime, and no flag prevents it.
    [path, inode, ctimeNs, mtimeNs, type === "symlink" ? "" : atimeNs, nlink, size].join(" "),
  );
}

/** Waits until what was just made is older than the granularity within which the program trusts no quick check. */
export async function grow(ageMs = 150): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ageMs));
}
