import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupeScript } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requireTool, requirement } from "../support/skip.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

const count = (name: string) => Number(readFileSync(join(work, name), "utf8"));

/** How many threads there were at a worker's first link, and how many two seconds later. */
async function threadsOf(
  snapshots: number,
  args: readonly string[],
): Promise<{ early: number; late: number }> {
  makeTree(
    source,
    Object.fromEntries(
      Array.from({ length: snapshots }, (_, number) => [`daily.${number}/a`, file(String(number))]),
    ),
  );
  const counting = (name: string) => `ls /proc/$PPID/task | wc -l > ${work}/${name}`;
  const command = `${counting("early")}; sleep 2; ${counting("late")}`;
  const rule = {
    calls: ["linkat"],
    path: "/staging/",
    action: { type: "run", when: "before", command },
  } as const;
  const { code } = await migrate(source, target, { plan: { rules: [rule] }, args });
  expect(code).toBe(0);
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  return { early: count("early"), late: count("late") };
}

describe.skipIf(availableParallelism() < 2)("threads of a migrate", () => {
  it("are one a core when a small tree takes long", async () => {
    const alone = await threadsOf(1, ["-j1"]);
    for (const each of [source, target]) rmSync(each, { recursive: true });
    mkdirSync(target);
    const { late } = await threadsOf(1, []);
    expect(late - alone.late).toBe(Math.min(64, availableParallelism()) - 1);
  });

  it.each([
    ["asked for by number", 1, ["-j2"]],
    ["of many snapshots", 9, []],
    ["of one job", 1, ["-j1"]],
  ] as const)("%s are there from the beginning", async (_, snapshots, args) => {
    const { early, late } = await threadsOf(snapshots, args);
    expect(late).toBe(early);
  });
});

/** Node itself aborts or hangs, without a word of dedupe's, where it cannot start its own threads. */
const ABORTED = 134;

const able =
  requirement(process.getuid?.() === 0, "needs root") && requireTool("setpriv") && requireTool("prlimit");

describe.skipIf(!able)("a user who may have few threads", () => {
  it(
    "is told so where there is none to work, and gets all done where there is one",
    { timeout: 180_000 },
    () => {
      makeTree(source, { "daily.0/a": file("a"), "daily.0/b": file("x".repeat(300_000)) });
      const user = 12_345;
      chmodSync(work, 0o755);
      chownSync(target, user, user);
      const codes: (number | null)[] = [];
      for (let threads = 9; codes.at(-1) !== 0 && threads < 40; threads++) {
        const limits = [
          `--reuid=${user}`,
          `--regid=${user}`,
          "--clear-groups",
          "prlimit",
          `--nproc=${threads}`,
        ];
        const slowly = ["migrate", "--no-progress", "--bwlimit=500", source, target];
        const { status, signal, stderr } = spawnSync(
          "setpriv",
          [...limits, process.execPath, dedupeScript, ...slowly],
          { encoding: "utf8", timeout: 20_000 },
        );
        codes.push(signal === null ? status : ABORTED);
        if (status === 1) expect(stderr).toContain("the system gives this process no further thread");
        expect(stderr).not.toContain("bug");
      }
      expect(codes.filter((code) => code !== ABORTED)).toEqual(expect.arrayContaining([1, 0]));
      expect(compareTrees(source, target, { mergedOk: true, ignore: ["owner"] })).toEqual([]);
    },
  );
});
