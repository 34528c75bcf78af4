import { linkSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree, symlink } from "../support/tree.ts";

useFolders();

const EINVAL = { type: "fail", errno: constants.errno.EINVAL } as const;

/** As on a filesystem without RENAME_EXCHANGE: the probe, and the exchange that call number `at` with the name is. */
async function withoutExchange(name: string, { at = 1, before = "true" } = {}) {
  const rules = [
    { calls: ["renameat2"], path: "exchange-probe", action: EINVAL },
    { calls: ["renameat2"], path: name, at, action: EINVAL },
    {
      ...{ calls: ["renameat2"], path: name, at },
      action: { type: "run", when: "before", command: before } as const,
    },
  ];
  const done = await migrate(source, target, { plan: { rules }, args: ["--delete", "-j1"] });
  expect(done.stdout).toContain("NO_EXCHANGE");
  expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  return done;
}

beforeEach(() => {
  makeTree(source, {
    "daily.0/victim": file("before\n"),
    "daily.0/box/inside": file("inside\n"),
    "daily.1": file("no snapshot yet\n"),
  });
  expect(migrateJson([source, target]).code).toBe(0);
});

describe("a target that cannot exchange two names", () => {
  const name = (): string => join(source, "daily.0/victim");
  it.each([
    ["a file by another", () => writeFileSync(name(), "after, and longer\n"), "victim", 1],
    ["a file by a directory", () => (rmSync(name()), mkdirSync(name())), "victim", 1],
    [
      "a directory by a file",
      () => {
        const box = join(source, "daily.0/box");
        rmSync(box, { recursive: true });
        writeFileSync(box, "a file\n");
      },
      "box",
      1,
    ],
    [
      "a file by a snapshot",
      () => {
        rmSync(join(source, "daily.1"));
        makeTree(join(source, "daily.1"), { a: file("a\n") });
      },
      "daily.1",
      2,
    ],
  ])("has %s replaced all the same", async (_, change, path, at) => {
    change();
    const { code, failures } = await withoutExchange(path, { at });
    expect([code, failures]).toEqual([0, []]);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it("keeps what someone put there before the look", async () => {
    writeFileSync(name(), "after, and longer\n");
    const theirs = join(target, "theirs");
    writeFileSync(theirs, "theirs\n");
    const { code, failures } = await withoutExchange("victim", {
      before: `mv ${theirs} ${target}/daily.0/victim`,
    });
    expect([code, failures.map((each) => each.code)]).toEqual([3, ["CHANGED"]]);
    expect(readFileSync(join(target, "daily.0/victim"), "utf8")).toBe("theirs\n");
  });
});

describe("a target that takes two names for one", () => {
  /** A new snapshot, in which the command makes what the call finds under the name. */
  async function meets(call: string, name: string, command: string) {
    const inside = `cd ${target}/.dedupe/staging/s* && ${command}`;
    const action = { type: "run", when: "before", command: inside } as const;
    const rules = [{ calls: [call], path: name, action }];
    const { code, failures } = await migrate(source, target, { plan: { rules }, args: ["-j1"] });
    const [failure] = failures;
    expect([code, failures.length]).toEqual([3, 1]);
    expect(failure).toMatchObject({ path: `daily.2/${name}`, code: "EEXIST" });
    expect(failure!.message).toMatch(
      /^its directory has the name already: the target takes two names for one/,
    );
  }

  it("which nothing showed at the start, lists the second file and keeps the first", async () => {
    makeTree(source, { "daily.2/folded": file("second\n") });
    await meets("openat", "folded", "echo first >folded");
    expect(readFileSync(join(target, "daily.2/folded"), "utf8")).toBe("first\n");
  });

  it("lists the second symlink and keeps the first", async () => {
    makeTree(source, { "daily.2/folded": symlink("second") });
    await meets("symlinkat", "folded", "ln -s first folded");
    expect(readlinkSync(join(target, "daily.2/folded"))).toBe("first");
  });

  it("lists the second directory, and puts nothing into the first", async () => {
    makeTree(source, { "daily.2/folded/second": file("second\n") });
    await meets("mkdirat", "folded", "mkdir folded && echo first >folded/first");
    expect(readdirSync(join(target, "daily.2/folded"))).toEqual(["first"]);
  });

  it("lists the second link to an inode", async () => {
    mkdirSync(join(source, "daily.2"));
    linkSync(join(source, "daily.0/victim"), join(source, "daily.2/folded"));
    await meets("linkat", "folded", `ln ${target}/daily.0/victim folded`);
  });

  it.each([
    ["NAME-PROBE.", "\u00e9"],
    ["name-probe.e", "\u0301"],
  ])("is refused where it finds %s%s, and left as it was", async (path, rest) => {
    rmSync(join(target, ".dedupe"), { recursive: true });
    const before = readdirSync(target).sort();
    const command = `touch ${target}/.dedupe/tmp/${path}${rest}`;
    const rule = {
      ...{ calls: ["statx"], path },
      action: { type: "run", when: "before", command },
    } as const;
    const { code, stderr } = await migrate(source, target, { plan: { rules: [rule] } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/takes names for the same.*\nUse a file system that keeps them apart/);
    expect(readdirSync(target).sort()).toEqual(before);
  });
});
