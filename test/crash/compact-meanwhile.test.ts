import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/sys/errors.ts";
import { compactWell, mismatches, objectsOf } from "../support/compact.ts";
import { migrate } from "../support/dedupe.ts";
import { compact, relink } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { verify } from "../support/verify.ts";

useFolders(2 ** 28);

/** What another process does just before, or just after, the first call like this. */
const meanwhile = (calls: string[], path: string, when: "before" | "after", command: string): FaultRule => ({
  ...{ calls, path },
  action: { type: "run", when, command },
});

const args = ["-j", "1", "--priority", "normal"];

describe("compact leaves for the next run what changes", () => {
  beforeEach(() => {
    makeSmallRoot(source, "monday");
    expect(migrate(source, target).code).toBe(0);
    compactWell(target);
  });

  it.each([
    ["an xattr", "setfattr -n user.mark -v late"],
    ["a mode", "chmod 0604"],
  ])("after it was decided what it is: %s", async (_what, command) => {
    const large = join(target, "daily.0/large");
    const namesOfLarge = () =>
      [...objectsOf(target)]
        .filter(([name]) => lstatOf(name).ino === lstatSync(large).ino)
        .map(([name]) => name);
    const before = namesOfLarge();
    chmodSync(large, 0o640);
    const rules = [meanwhile(["getdents64"], "/daily.0/docs", "after", `${command} ${large}`)];
    expect((await compact(target, { args, plan: { rules } })).code).toBe(0);
    expect(namesOfLarge()).toEqual(before);
    expect(compactWell(target).summary.refile.objects).toBe(1);
    expect(namesOfLarge()).not.toEqual(before);
    expect(verify([target]).code).toBe(0);
    expect(mismatches(target)).toEqual([]);
  });
});

describe("a name that went before it was read", () => {
  it.each([
    ["compact", "a file", "openat", "late", 1],
    ["compact", "a directory", "openat", "late", 1],
    ["compact", "a directory", "openat", "folder", 2],
    ["compact", "a directory", "getdents64", "folder", 1],
    ["compact", "a directory", "getdents64", "folder", 3],
    ["relink", "a file", "openat", "late", 1],
    ["relink", "a directory", "openat", "late", 1],
    ["relink", "a directory", "openat", "folder", 2],
    ["relink", "a directory", "getdents64", "folder", 1],
  ] as const)("is no failure of %s: %s, before %s of %s, call %d", async (command, what, call, path, at) => {
    makeSmallRoot(source, "monday");
    expect(migrate(source, target).code).toBe(0);
    const folder = join(target, "daily.0", what === "a file" ? "" : "folder");
    mkdirSync(folder, { recursive: true });
    const late = join(folder, "late");
    execFileSync("cp", ["-p", join(target, "daily.0/large"), late]);
    const gone = what === "a file" ? late : folder;
    const rules = [{ ...meanwhile([call], path, "before", `rm -r ${gone}`), at }];
    const run = await { compact, relink }[command](target, { args: ["-j", "1"], plan: { rules } });
    expect([run.code, run.failures]).toEqual([0, []]);
    expect(existsSync(gone)).toBe(false);
  });
});

describe("an object that is read", () => {
  it("may get and lose names meanwhile", async () => {
    makeSmallRoot(source, "monday");
    expect(migrate(source, target).code).toBe(0);
    const large = join(target, "daily.0/large");
    chmodSync(large, 0o640);
    const [object] = [...objectsOf(target)].filter(([name]) => lstatOf(name).ino === lstatSync(large).ino);
    execFileSync("sleep", ["0.1"]);
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    const path = `.dedupe/objects/${object?.[0] ?? "none"}`;
    const rules = [meanwhile(["pread"], path, "after", `ln ${large} ${target}/daily.0/another`)];
    const run = await compact(target, { args, plan: { rules } });
    expect([run.code, run.failures]).toEqual([0, []]);
    expect(existsSync(join(target, "daily.0/another"))).toBe(true);
    expect(run.summary).toMatchObject({ refile: { objects: 1 } });
  });
});

describe("beside a snapshot tool", () => {
  const late = () => join(target, "daily.0/folder/late");

  it.each([
    ["replaces a name", 1, () => `echo newer > ${target}/new && mv -f ${target}/new ${late()}`],
    ["moves a snapshot whose directories are open", 0, () => `mv ${target}/daily.0 ${target}/daily.9`],
    ["removes a snapshot", 1, () => `rm -r ${target}/daily.0`],
  ])("that %s a compact ends well, and the next one goes on", async (_what, leftAlone, command) => {
    makeSmallRoot(source, "monday");
    expect(migrate(source, target).code).toBe(0);
    mkdirSync(join(target, "daily.0/folder"));
    execFileSync("cp", ["-p", join(target, "daily.0/large"), late()]);
    const rules = [meanwhile(["statx"], "/daily.0/folder/late", "before", command())].map((rule) => ({
      ...rule,
      // The first one takes stock.
      at: 2,
    }));
    const run = await compact(target, { args, plan: { rules } });
    expect([run.code, run.failures]).toEqual([0, []]);
    expect(run.summary).toMatchObject({ outcome: "complete", failures: 0, leftAlone });
    expect(compactWell(target).summary.leftAlone).toBe(0);
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });
});

describe("a directory of the store that its disk does not give", () => {
  it.each([
    ["getdents64", "tmp"],
    ["getdents64", "staging"],
    ["getdents64", "log"],
    ["openat", "objects"],
  ])("is named: %s of %s", async (call, folder) => {
    makeSmallRoot(source, "monday");
    expect(migrate(source, target).code).toBe(0);
    const path = `.dedupe/${folder}`;
    const fails = { type: "fail", errno: errno.EIO } as const;
    const rules = [{ calls: [call], path: `/${path}`, times: 99, action: fails }];
    const { code, stdout, stderr } = await compact(target, { args, plan: { rules } });
    expect(code).toBe(1);
    expect(stdout + stderr).toContain(`(${path})`);
  });
});

const lstatOf = (object: string) => lstatSync(join(target, ".dedupe/objects", object));
