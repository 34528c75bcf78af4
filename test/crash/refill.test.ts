import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { leftovers, migrate } from "../support/faulty-run.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

const published = () => join(target, "daily.0");

/** A run that is killed when all of daily.0 is staged. @returns where */
async function stageAndKill(): Promise<string> {
  const rules = [
    { calls: ["renameat2"], path: "/staging", action: { type: "kill", when: "before" } },
  ] as const;
  expect((await migrate(source, target, { args: ["-j1"], plan: { rules } })).code).toBeNull();
  expect(existsSync(published())).toBe(false);
  const staging = join(target, ".dedupe/staging");
  const staged = readdirSync(staging).map((name) => join(staging, name));
  return staged.find((path) => existsSync(join(path, "it")))!;
}

/** The next run, in which nothing of this path can be removed. */
const runWithout = async (path: string) => {
  const action = { type: "fail", errno: constants.errno.EPERM } as const;
  return migrate(source, target, {
    args: ["-j1"],
    plan: { rules: [{ calls: ["unlinkat"], path, times: 99, action }] },
  });
};

function expectFinished(): void {
  expect(migrateJson([source, target]).code).toBe(0);
  expect(compareTrees(source, target)).toEqual([]);
  expect(leftovers(target)).toEqual([]);
}

describe.skipIf(!requireFilesystem("ext4"))("what a killed run staged and nobody can remove", () => {
  const cases = {
    "half a file": (staged: string) => {
      rmSync(join(staged, "it"));
      writeFileSync(join(staged, "it"), "ha");
    },
    "a name that the source has no more": () => rmSync(join(source, "daily.0/it")),
    "a file where a directory is now": () => {
      rmSync(join(source, "daily.0/it"));
      makeTree(source, { "daily.0/it/f": file("f") });
    },
  };
  it.each(Object.entries(cases))("is not published: %s", async (_, change) => {
    makeTree(source, { "daily.0/it": file("whole"), "daily.0/other": file("other"), "daily.1/a": file("a") });
    change(await stageAndKill());
    const { code, failures, summary } = await runWithout("it");
    expect(code).toBe(3);
    expect(failures.map(({ path }) => path)).toContain("daily.0/it");
    expect(summary?.snapshots).toMatchObject({ incomplete: 1, new: 1, pending: 0 });
    expect(existsSync(published())).toBe(false);
    expectFinished();
  });

  it("is not published: a directory that cannot be entered any more", async () => {
    makeTree(source, { "daily.0/it/f": file("f"), "daily.0/other": file("other") });
    const staged = await stageAndKill();
    writeFileSync(join(staged, "it/f"), "ha");
    const eio = { type: "fail", errno: constants.errno.EIO } as const;
    const eperm = { type: "fail", errno: constants.errno.EPERM } as const;
    const rules = [
      { calls: ["openat"], path: join(source, "daily.0"), at: 2, times: 99, action: eio },
      { calls: ["unlinkat"], path: "it", times: 99, action: eperm },
    ];
    const { code, summary } = await migrate(source, target, { args: ["-j1"], plan: { rules } });
    expect({ code, ...summary?.snapshots }).toMatchObject({ code: 3, incomplete: 1 });
    expect(existsSync(published())).toBe(false);
    expectFinished();
  });
});
