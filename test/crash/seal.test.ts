import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate, readTrace, type RunResult } from "../support/faulty-run.ts";
import type { FaultRule, TracedCall } from "../support/faults/plan.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { finishes, visibleDifferences } from "../support/promises.ts";
import { makeSmallRoot } from "../support/small-root.ts";

const MIB = 2 ** 20;
/* Slow enough for a batch or two to be sealed while the next is being written. */
const slowly = ["--bwlimit=240"];

describe.skipIf(!requireFilesystem("ext4"))("the order of sealing", { timeout: 480_000 }, () => {
  it.each(["first", "update"] as const)(
    "puts a syncfs before every publication, every row and the end of a %s run",
    async (kind) => {
      await traced(kind, [], async ({ result, trace }) => {
        expect(result.code).toBe(0);
        const syncs = trace.filter(({ call, result: answer }) => call === "syncfs" && answer === 0);
        expect(syncs.length).toBeGreaterThan(2);
        const published = trace.filter(isPublication);
        expect(published.length).toBeGreaterThanOrEqual(3);
        for (const rename of published) {
          const writes = trace.filter((each) => each.end < rename.begin && isStagedWrite(each, rename));
          expect(writes.length).toBeGreaterThan(0);
          expect(liesBetween(syncs, writes, rename), JSON.stringify(rename)).toBe(true);
        }
        expect(rowsReadTooEarly(trace, syncs)).toEqual([]);
        const changes = trace.filter((each) => isChange(each) && each.result >= 0);
        const last = Math.max(...changes.map(({ end }) => end));
        expect(syncs.some(({ begin }) => begin > last)).toBe(true);
      });
    },
  );

  it("publishes nothing more after a syncfs that failed, for the next one would not tell of the lost writes", async () => {
    const rule: FaultRule = {
      calls: ["syncfs"],
      at: 1,
      action: { type: "fail", errno: constants.errno.EIO },
    };
    await traced("first", [rule], async ({ result, trace, attempt }) => {
      expect(result.code).toBe(1);
      expect(result.summary?.error?.message).toMatch(/syncfs/);
      const failed = trace.find(({ call, result: answer }) => call === "syncfs" && answer < 0);
      expect(trace.filter((each) => isPublication(each) && each.end > failed!.begin)).toEqual([]);
      expect(
        trace.filter(
          (each) => each.call === "ftruncate" && isJournal(each.paths[0]!) && each.end > failed!.begin,
        ),
      ).toEqual([]);
      expect(visibleDifferences(attempt)).toEqual([]);
      expect(await finishes(attempt)).toEqual([]);
    });
  });
});

type Traced = {
  result: RunResult;
  trace: TracedCall[];
  attempt: { source: string; target: string; args: string[] };
};

async function traced(
  kind: "first" | "update",
  rules: readonly FaultRule[],
  look: (traced: Traced) => Promise<void>,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 600 * MIB }, async (sources) => {
    await withFilesystem({ type: "ext4", sizeBytes: 600 * MIB }, async (targets) => {
      const target = join(targets, "target");
      mkdirSync(target);
      makeSmallRoot(join(sources, "monday"), "monday");
      makeSmallRoot(join(sources, "wednesday"), "wednesday");
      if (kind === "update") expect((await migrate(join(sources, "monday"), target)).code).toBe(0);
      const source = join(sources, kind === "first" ? "monday" : "wednesday");
      const folder = mkdtempSync("/tmp/dedupe-seal-");
      const args = kind === "first" ? [] : ["--delete"];
      const plan = { rules, trace: { file: join(folder, "trace") } };
      const result = await migrate(source, target, { args: [...args, ...slowly], plan });
      const trace = readTrace(join(folder, "trace"));
      rmSync(folder, { recursive: true });
      await look({ result, trace, attempt: { source, target, args } });
    });
  });
}

/** A name given to something staged: its parent is no folder of the store. */
function isPublication({ call, paths, result }: TracedCall): boolean {
  return (
    call === "renameat2" &&
    result === 0 &&
    paths[0]!.endsWith("/.dedupe/staging") &&
    !paths[2]!.includes("/.dedupe")
  );
}

const creating = ["openat", "linkat", "symlinkat", "mknodat", "mkdirat"];
const changing = [
  "pwrite",
  "ftruncate",
  "fchmod",
  "fchmodat",
  "fchownat",
  "futimens",
  "utimensat",
  "fsetxattr",
  "lsetxattr",
];

function isChange({ call, paths }: TracedCall): boolean {
  if (["renameat2", "unlinkat", "linkat", "symlinkat", "mknodat", "mkdirat"].includes(call)) return true;
  return changing.includes(call) && !paths[0]!.includes("/.dedupe/log");
}

/** Whether it makes or fills what the rename publishes: below the staged name, or the staged name itself. */
function isStagedWrite(each: TracedCall, rename: TracedCall): boolean {
  const staged = withoutInodes(`${rename.paths[0]!}/${rename.paths[1]!}`);
  if (each.result < 0) return false;
  if (changing.includes(each.call))
    return isAtOrBelow(each.paths[0]!, staged) || withoutInodes(each.paths.slice(0, 2).join("/")) === staged;
  if (!creating.includes(each.call)) return false;
  const [folder, name] = each.call === "symlinkat" ? each.paths.slice(1) : each.paths.slice(-2);
  return isAtOrBelow(`${folder!}/${name!}`, staged);
}

/** What was made as u7 is renamed to u7.12.34 before it is exchanged. */
const withoutInodes = (path: string): string => path.replace(/(\/staging\/u\d+)\.[\w-]+\.\d+/, "$1");

const isAtOrBelow = (path: string, folder: string): boolean =>
  `${withoutInodes(path)}/`.startsWith(`${folder}/`);

/** Begun after the last of the writes and ended before the call. */
function liesBetween(syncs: readonly TracedCall[], writes: readonly TracedCall[], call: TracedCall): boolean {
  const last = Math.max(...writes.map(({ end }) => end));
  return syncs.some(({ begin, end }) => begin > last && end < call.begin);
}

const isJournal = (path: string): boolean => /\/log\/rows\.[01]$/.test(path);

/** Rows go from the journal into the index as soon as they are read from it: each must have been written before a syncfs. */
function rowsReadTooEarly(trace: readonly TracedCall[], syncs: readonly TracedCall[]): TracedCall[] {
  const waiting = new Map<string, TracedCall[]>();
  const early: TracedCall[] = [];
  for (const each of trace) {
    const path = each.paths[0] ?? "";
    if (!isJournal(path) || each.result < 0) continue;
    const rows = waiting.get(path) ?? [];
    if (each.call === "write") waiting.set(path, [...rows, each]);
    if (each.call === "ftruncate") waiting.delete(path);
    if (each.call === "pread") {
      const count = each.result / 152;
      if (count > 0 && !liesBetween(syncs, rows.slice(0, count), each)) early.push(each);
    }
  }
  return early;
}
