import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { leftovers, readTrace, relink, type RunResult } from "../support/faulty-run.ts";
import type { FaultAction, TracedCall } from "../support/faults/plan.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { compareTrees, type Difference } from "../support/oracle.ts";
import { twoAtATime } from "../support/promises.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { objectOf } from "../support/store-objects.ts";
import { directory, file, linkTo, makeTree } from "../support/tree.ts";
import { ignoringAll, makeDiffering } from "../support/undo.ts";
import { isLong } from "../support/long.ts";

vi.setConfig({ testTimeout: 600_000 });

const MIB = 2 ** 20;
const most = isLong ? 60 : 3;

const ignoring = ["-j", "1", ...ignoringAll];
const undoing = ["-j", "1", "--undo"];

/* Whatever is restored already: no name is missing, and none has other bytes. */
const ofContent = new Set(["missing", "extra", "type", "size", "content"]);

function broken(original: string, root: string): Difference[] {
  return compareTrees(original, root, { mergedOk: true }).filter(({ class: kind }) => ofContent.has(kind));
}

describe.skipIf(!requireFilesystem("ext4"))("what --ignore-* discards", () => {
  it("is in the log, and durable, before a name loses it; a new inode is durable before it replaces one", async () => {
    await withRoot(async ({ folder, root }) => {
      const first = await traced(root, folder, ignoring);
      const logged = first.filter(({ call, paths }) => call === "write" && /\/log\/undo\./.test(paths[0]!));
      expect(logged.length).toBeGreaterThan(0);
      expectSyncBetween(first, logged);
      const second = await traced(root, folder, undoing);
      const made = second.filter(
        ({ call, paths, result }) =>
          call === "linkat" && result === 0 && paths[2]!.endsWith("/.dedupe/objects"),
      );
      expect(made).toHaveLength(3);
      expectSyncBetween(second, made);
    });
  });

  it("stays in the log where someone spoils the new inode before it replaces one", async () => {
    const spoils = {
      "no name": "rm",
      "other bytes": "sh -c 'for f; do printf X | dd of=$f conv=notrunc status=none; done' -",
    };
    for (const [spoiled, how] of Object.entries(spoils))
      await withRoot(async ({ root, original }) => {
        await relink(root, { args: ignoring });
        const command = `find ${root}/.dedupe/objects -name '*.1' -exec ${how} {} +`;
        const action = { type: "run", when: "after", command } as const;
        const rules = [{ calls: ["linkat"], path: "/.dedupe/objects", action }];
        const hit = await relink(root, { args: undoing, plan: { rules } });
        expect([spoiled, hit.code, hit.summary?.failures]).not.toEqual([spoiled, 0, 0]);
        expect(undoFilesOf(root)).not.toEqual([]);
        expect(unhappy(await relink(root, { args: undoing }))).toEqual([]);
        expect(compareTrees(original, root, { mergedOk: true })).toEqual([]);
        expect(undoFilesOf(root)).toEqual([]);
      });
  });

  it(
    "comes back whatever call of the relink, or of the undo, a kill or a failure hits",
    { timeout: 3_600_000 },
    async () => {
      await withFilesystem({ type: "ext4", sizeBytes: 1500 * MIB }, async (mount) => {
        const count = async (prepare: boolean): Promise<number> => {
          const { folder, root } = fresh(mount);
          if (prepare) await relink(root, { args: ignoring });
          const calls = (await traced(root, folder, prepare ? undoing : ignoring)).length;
          rmSync(folder, { recursive: true });
          return calls;
        };
        const findings: string[] = [];
        for (const isUndo of [false, true]) {
          const calls = await count(isUndo);
          const stride = Math.max(1, Math.ceil(calls / most));
          const faults = everyNth(calls, stride, Math.ceil(stride / 2)).flatMap((at) =>
            (isLong ? (["KILL", "EIO", "ENOSPC"] as const) : (["KILL"] as const)).map((what) => ({
              at,
              what,
            })),
          );
          await twoAtATime(faults, async (fault) => {
            const made = fresh(mount);
            const found = await meet({ ...fault, ...made, isUndo });
            findings.push(
              ...found.map((each) => `${fault.what} at ${String(fault.at)} (${String(isUndo)}): ${each}`),
            );
            rmSync(made.folder, { recursive: true });
          });
        }
        expect(findings).toEqual([]);
      });
    },
  );
});

describe.skipIf(!requireFilesystem("ext4"))("the undo of a name that was replaced twice", () => {
  /** Its inode gave way to one, and that one to another, which has no other name by now. */
  async function makeTwice(mount: string): Promise<{ folder: string; root: string; original: string }> {
    const folder = mkdtempSync(join(mount, "twice-"));
    const [root, original] = [join(folder, "root"), join(folder, "original")];
    const times = (n: bigint) => 1_600_000_000_000_000_000n + n;
    mkdirSync(root);
    const top = { ".": directory({ mtimeNs: times(9n) }), "daily.0": directory({ mtimeNs: times(8n) }) };
    makeTree(root, {
      ...top,
      "daily.0/a": file("same\n", { mtimeNs: times(1n), mode: 0o4751, uid: 3, gid: 4 }),
    });
    execFileSync("cp", ["-a", root, original]);
    const comes = {
      1: { mtimeNs: times(2n), mode: 0o640, uid: 5 },
      2: { mtimeNs: times(3n), mode: 0o600, gid: 7 },
    };
    for (const [day, attributes] of Object.entries(comes)) {
      const name = `daily.${day}`;
      // Which inode goes is told by the number of names, where the store has none.
      makeTree(root, {
        [`${name}/b`]: file("same\n", attributes),
        ...Object.fromEntries(["c", "d", "e"].map((each) => [`${name}/${each}`, linkTo(`${name}/b`)])),
      });
      expect((await relink(root, { args: ignoring })).code).toBe(0);
      expect(lstatSync(join(root, "daily.0/a")).ino).toBe(lstatSync(join(root, name, "b")).ino);
      rmSync(join(root, name), { recursive: true });
      if (day === "1") rmSync(join(root, objectOf(root, "daily.0/a")));
    }
    execFileSync("touch", ["-r", original, root]);
    return { folder, root, original };
  }

  it("goes on after a kill between any two attributes", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (mount) => {
      const calls = ["fchown", "fchownat", "fchmod", "fchmodat", "futimens", "utimensat"];
      const findings: string[] = [];
      for (let at = 1; ; at++) {
        const { folder, root, original } = await makeTwice(mount);
        const rules = [{ calls, path: "daily.0/a", at, action: { type: "kill", when: "after" } } as const];
        const hit = await relink(root, { args: undoing, plan: { rules } });
        findings.push(...unhappy(await relink(root, { args: undoing })));
        const isEqual = compareTrees(original, root).map((each) => JSON.stringify(each));
        findings.push(...isEqual.map((each) => `at ${String(at)}: ${each}`));
        rmSync(folder, { recursive: true });
        if (hit.code === 0) {
          expect(at).toBeGreaterThan(2);
          break;
        }
      }
      expect(findings).toEqual([]);
    });
  });
});

const undoFilesOf = (root: string): string[] =>
  readdirSync(join(root, ".dedupe/log")).filter((name) => name.startsWith("undo."));

type Roots = { folder: string; root: string; original: string };

function fresh(mount: string): Roots {
  const folder = mkdtempSync(join(mount, "undo-"));
  const [root, original] = [join(folder, "root"), join(folder, "original")];
  makeDiffering(root, original);
  return { folder, root, original };
}

async function withRoot(test: (roots: Roots) => Promise<void>): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => test(fresh(mount)));
}

async function traced(root: string, folder: string, args: string[]): Promise<TracedCall[]> {
  const file = join(folder, "trace");
  const { code, stderr } = await relink(root, { args, plan: { trace: { file } } });
  if (code !== 0) throw new Error(`a run without a fault ended with ${String(code)}: ${stderr}`);
  const trace = readTrace(file);
  rmSync(file);
  return trace;
}

function expectSyncBetween(trace: readonly TracedCall[], before: readonly TracedCall[]): void {
  const exchange = trace.find(({ call, paths }) => call === "renameat2" && !paths[2]!.includes("/.dedupe"))!;
  const last = Math.max(...before.map(({ end }) => end));
  const isSynced = trace.some(
    ({ call, result, begin, end }) =>
      call === "syncfs" && result === 0 && begin > last && end < exchange.begin,
  );
  expect(isSynced).toBe(true);
}

async function meet(
  fault: { at: number; what: "KILL" | "EIO" | "ENOSPC"; isUndo: boolean } & Roots,
): Promise<string[]> {
  const { at, what, isUndo, root, original } = fault;
  const action: FaultAction =
    what === "KILL"
      ? { type: "kill", when: at % 2 === 0 ? "before" : "after" }
      : { type: "fail", errno: constants.errno[what] };
  if (isUndo) await relink(root, { args: ignoring });
  const hit = await relink(root, { args: isUndo ? undoing : ignoring, plan: { rules: [{ at, action }] } });
  const findings = [
    ...(hit.hung ? ["it hung"] : []),
    ...(/bug|\n {4}at /.test(hit.stderr) ? [`a bug message: ${hit.stderr.slice(0, 1500)}`] : []),
    ...broken(original, root).map((each) => `then ${JSON.stringify(each)}`),
  ];
  // A run that died before there was a store has discarded nothing.
  const results = isUndo ? [] : [await relink(root, { args: ignoring })];
  results.push(await relink(root, { args: undoing }));
  findings.push(...results.flatMap(unhappy));
  findings.push(
    ...compareTrees(original, root, { mergedOk: true })
      .filter(({ class: kind, path }) => !(kind === "mtime" && isExcused(path, what, hit)))
      .map((each) => `after the next run ${JSON.stringify(each)}`),
    ...leftovers(root).map((name) => `after the next run there is still ${name}`),
  );
  return findings;
}

const unhappy = ({ code, stderr, failures }: RunResult): string[] =>
  code === 0 ? [] : [`the next run ended with ${String(code)}: ${stderr} ${JSON.stringify(failures)}`];

/** The root's time is off for a moment when the store is made; where the kernel refused a time, it was listed. */
const isExcused = (path: string, what: string, { failures }: RunResult): boolean =>
  path === "." || (what !== "KILL" && failures.some((failure) => failure.path === path));
