import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { FaultRule } from "../support/faults/plan.ts";
import { migrate, readTrace, type RunResult } from "../support/faulty-run.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { directoriesIn, namesIn } from "../support/moved.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement } from "../support/skip.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { file, linkTo, makeTree, symlink } from "../support/tree.ts";

const root = requirement(process.getuid?.() === 0, "needs root");
const args = ["--remove-source-files", "-j", "1"];
const EIO = 5;

useFolders();

const move = (...rules: FaultRule[]): Promise<RunResult> =>
  migrate(source, target, { args, plan: { rules } });

const kept = ({ failures }: RunResult): string[] =>
  failures.map(({ path, code }) => `${code} ${path}`).sort();

/** Before the Nth name goes from the source: a shell command. */
const before = (at: number, command: string): FaultRule => ({
  calls: ["unlinkat"],
  path: "/source",
  at,
  action: { type: "run", when: "before", command },
});

describe.skipIf(!root)("removing source files, while someone", () => {
  beforeEach(() => {
    makeTree(source, {
      "daily.0/a": file("precious\n"),
      "daily.0/b": linkTo("daily.0/a"),
      "daily.0/link": symlink("a"),
      "daily.1/first": file("goes first\n"),
    });
  });

  it("writes to the source, keeps what was written", async () => {
    const result = await move(before(1, `echo more >>${source}/daily.0/a`));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/a", "KEPT daily.0/b"]]);
    expect(readFileSync(join(source, "daily.0/b"), "utf8")).toBe("precious\nmore\n");
    expect(namesIn(source)).toEqual(["daily.0/a", "daily.0/b"]);
  });

  it("writes between comparing and removing, keeps what was written", async () => {
    const trace = join(work, "trace");
    const spare = join(work, "spare");
    mkdirSync(spare);
    const plan = { trace: { file: trace, calls: ["openat"], path: "/source/daily.1/first" } };
    await migrate(source, spare, { plan });
    const copying = readTrace(trace).length;
    const opensOfSource = { calls: ["openat"], path: "first" };
    // The copy opens the name twice, on either side; comparing does as well; the last look is the next one.
    const command = `printf 'goes FIRST\\n' >${source}/daily.1/first`;
    const result = await move({
      ...opensOfSource,
      at: copying + 5,
      action: { type: "run", when: "before", command },
    });
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.1/first"]]);
    expect(readFileSync(join(source, "daily.1/first"), "utf8")).toBe("goes FIRST\n");
  });

  it("adds a name and a directory, keeps both", async () => {
    const command = `cd ${source}/daily.0 && echo n >new && mkdir newer && echo n >newer/leaf`;
    const result = await move(before(1, command));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/new", "KEPT daily.0/newer"]]);
    expect(namesIn(source)).toEqual(["daily.0/new", "daily.0/newer/leaf"]);
  });

  it("points a name of the target at another inode, verifies that one before it believes it", async () => {
    const there = join(target, "daily.0/b");
    const command = `cp -p ${there} ${there}.x && printf 'PRECIOUS\\n' >${there}.x && touch -r ${there} ${there}.x && mv ${there}.x ${there}`;
    const result = await move(before(1, command));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/b"]]);
    expect(namesIn(source)).toEqual(["daily.0/b"]);
  });

  it.each([
    ["mode", "chmod 600 a"],
    ["owner", "chown 7:7 a"],
    ["time", "touch -d '2001-01-01 00:00' a"],
    [
      "extended attributes",
      'setfattr -n user.x -v y a || python3 -c \'import os; os.setxattr("a", "user.x", b"y")\'',
    ],
  ])("changes the %s of an inode on the target, keeps its names", async (what, command) => {
    const result = await move(before(1, `cd ${target}/daily.0 && ${command}`));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/a", "KEPT daily.0/b"]]);
    expect(result.failures[0]?.message).toMatch(new RegExp(`kept in the source: its ${what} differ`));
  });

  it.each([
    ["points elsewhere", "ln -sfn b link"],
    ["is of another type", "rm link; echo >link"],
    ["not on the target", "rm link"],
  ])("leaves a symlink on the target that %s, keeps it", async (what, command) => {
    const result = await move(before(1, `cd ${target}/daily.0 && ${command}`));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/link"]]);
    expect(result.failures[0]?.message).toContain(what);
    expect(namesIn(source)).toEqual(["daily.0/link"]);
  });

  it("swaps a directory of the target for a symlink to the same files, follows it nowhere", async () => {
    const command = `cd ${target} && mv daily.0 ${work}/aside && ln -s ${work}/aside daily.0`;
    const result = await move(before(1, command));
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0"]]);
    expect(namesIn(source)).toHaveLength(3);
  });

  it("asks it to stop, stops between two names, and the next run finishes", async () => {
    const result = await move(before(2, "kill -TERM $PPID; sleep 1"), before(3, "sleep 1"));
    expect([result.code, result.summary?.outcome]).toEqual([143, "stopped"]);
    expect(namesIn(source).length).toBeGreaterThan(0);
    expect((await move()).code).toBe(0);
    expect(namesIn(source)).toEqual([]);
  });
});

describe.skipIf(!root)("removing source files", () => {
  it("removes nothing of a snapshot that is incomplete", async () => {
    makeTree(source, {
      "daily.0/a": file("whole\n"),
      "daily.1/a": linkTo("daily.0/a"),
      "daily.1/bad": file("cannot be read\n"),
      "daily.1/b": file("can be read\n"),
    });
    const bad = { calls: ["pread"], path: "daily.1/bad", action: { type: "fail", errno: EIO } } as const;
    const result = await move({ ...bad, times: 100 });
    expect([result.code, kept(result)]).toEqual([3, ["EIO daily.1/bad"]]);
    expect(namesIn(source)).toEqual(["daily.1/a", "daily.1/b", "daily.1/bad"]);
    expect(existsSync(join(target, "daily.1/b"))).toBe(true);
    expect((await move()).code).toBe(0);
    expect(namesIn(source)).toEqual([]);
  });

  it("keeps what the target cannot read back, and goes on with the rest", async () => {
    makeTree(source, { "daily.0/a": file("a\n"), "daily.0/b": file("b\n") });
    const path = "/target/daily.0/a";
    const result = await move({ calls: ["pread"], path, times: 100, action: { type: "fail", errno: EIO } });
    expect([result.code, kept(result)]).toEqual([3, ["KEPT daily.0/a"]]);
    expect(namesIn(source)).toEqual(["daily.0/a"]);
  });

  it("removes nothing when the last syncfs fails", async () => {
    makeSmallRoot(source, "monday");
    const names = namesIn(source);
    const result = await move({ calls: ["syncfs"], times: 100, action: { type: "fail", errno: EIO } });
    expect([result.code, namesIn(source)]).toEqual([1, names]);
  });

  it("begins after the last syncfs", async () => {
    makeSmallRoot(source, "monday");
    const trace = join(work, "trace");
    await migrate(source, target, { args, plan: { trace: { file: trace, calls: ["syncfs", "unlinkat"] } } });
    const calls = readTrace(trace);
    const lastSync = Math.max(...calls.filter(({ call }) => call === "syncfs").map(({ end }) => end));
    const removals = calls.filter(({ call, paths }) => call === "unlinkat" && paths[0]?.startsWith(source));
    expect(removals.length).toBeGreaterThan(20);
    expect(Math.min(...removals.map(({ begin }) => begin))).toBeGreaterThan(lastSync);
    // What was copied first goes last: the newest snapshot.
    expect(removals[0]?.paths[0]).toBe(source);
  });

  it.each([1, 2, 7, 13, 19, 23])(
    "killed as name %i goes, finishes in the next run, and no directory shows it",
    async (at) => {
      const reference = join(work, "reference");
      makeSmallRoot(reference, "monday");
      makeSmallRoot(source, "monday");
      const calls = { calls: ["unlinkat"], path: "/source" };
      const killed = await move({ ...calls, at, action: { type: "kill", when: "after" } });
      expect(killed.code).toBe(null);
      expect(namesIn(source)).toHaveLength(namesIn(reference).length - at);
      const result = await move();
      expect([result.code, kept(result)]).toEqual([0, []]);
      expect(namesIn(source)).toEqual([]);
      expect(directoriesIn(source)).toEqual(directoriesIn(reference));
      expect(compareTrees(reference, target, { mergedOk: true })).toEqual([]);
    },
  );
});
