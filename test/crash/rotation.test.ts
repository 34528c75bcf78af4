import { statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

/** As rsnapshot does it with cmd_cp. */
const rotate =
  "mv daily.2 daily.3 && mv daily.1 daily.2 && mv daily.0 daily.1 && cp -al daily.1 daily.0 && touch daily.0";

beforeEach(() => {
  for (const day of [0, 1, 2]) {
    makeTree(join(source, `daily.${day}`), { id: file(`day ${day}\n`), "sub/big": file(`big ${day}\n`) });
    utimesSync(join(source, `daily.${day}`), 1_700_000_000, 1_700_000_000 - day * 86_400);
  }
});

/** Runs the command in the source just before the first such call with the path. */
const before = (call: string, path: string, command: string) =>
  ({
    ...{ calls: [call], path },
    action: { type: "run", when: "before", command: `cd ${source} && ${command}` },
  }) as const;

async function migrateWith(...rules: ReturnType<typeof before>[]) {
  return migrate(source, target, { plan: { rules }, args: ["-j1"] });
}

/** Runs the command in the source just before the directory is read. */
const migrateWhile = async (command: string, directory: string) =>
  migrateWith(before("getdents64", directory, command));

describe("a source that is rotated during the run", () => {
  it.each(["daily.0/sub", "daily.1/sub", "daily.2/sub"])(
    "before %s is read is told of, and the next run brings what slipped past",
    async (directory) => {
      const { code, failures } = await migrateWhile(rotate, directory);
      expect(code).toBe(3);
      expect(failures.map((each) => each.code)).toContain("ROTATED");
      const again = migrateJson([source, target]);
      expect([again.code, again.summary.failures]).toEqual([0, 0]);
      expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    },
  );

  it("gives no published snapshot the metadata of another one", async () => {
    expect(migrateJson([source, target]).code).toBe(0);
    makeTree(join(source, "daily.1"), { new: file("new\n") });
    utimesSync(join(source, "daily.1"), 1_600_000_000, 1_600_000_000);
    const { code, failures } = await migrateWhile(rotate, "daily.1/sub");
    expect(code).toBe(3);
    expect(failures).toContainEqual(expect.objectContaining({ path: "daily.1", code: "ROTATED" }));
    expect(statSync(join(target, "daily.1")).mtimeMs).not.toBe(statSync(join(source, "daily.1")).mtimeMs);
    expect(migrateJson(["--delete", source, target]).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("while an update is put into place leaves the snapshot the metadata that was walked", async () => {
    expect(migrateJson([source, target]).code).toBe(0);
    makeTree(join(source, "daily.1"), { new: file("new\n") });
    utimesSync(join(source, "daily.1"), 1_600_000_000, 1_600_000_000);
    const { code, failures } = await migrateWith(before("renameat2", join(target, "daily.1"), rotate));
    expect(code).toBe(3);
    expect(failures).toContainEqual(expect.objectContaining({ path: "daily.1", code: "ROTATED" }));
    expect(statSync(join(target, "daily.1")).mtimeMs).toBe(1_600_000_000_000);
  });

  it("between the list of its snapshots and the look at them is told of", async () => {
    const { code, failures, stdout } = await migrateWith(before("statx", "daily.", rotate));
    expect([code, failures.map((each) => each.path)]).toEqual([3, ["daily.3"]]);
    expect(stdout).not.toContain("CAME_MEANWHILE");
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("is told of where a snapshot was half removed when it was read, and went", async () => {
    const { code, failures } = await migrateWith(
      before("getdents64", "daily.1/sub", "rm daily.1/sub/big"),
      before("renameat2", ".dedupe/staging", "rm -r daily.1"),
    );
    expect([code, failures.map((each) => `${each.path} ${each.code}`)]).toEqual([3, ["daily.1 ROTATED"]]);
    expect(failures[0]?.message).toMatch(/^it left the source/);
    expect(migrateJson(["--delete", source, target]).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("gives a new snapshot that takes the place of a file its own metadata", async () => {
    makeTree(target, { "daily.1": file("a file\n") });
    const { mtimeMs } = statSync(join(source, "daily.1"));
    expect((await migrateWith(before("renameat2", "daily.1", rotate))).code).toBe(3);
    expect(statSync(join(target, "daily.1")).mtimeMs).toBe(mtimeMs);
  });

  it("is none where a snapshot merely came meanwhile", async () => {
    const { code, failures, stdout } = await migrateWhile("cp -a daily.0 weekly.0", "daily.1/sub");
    expect([code, failures]).toEqual([0, []]);
    expect(stdout).toContain("CAME_MEANWHILE");
  });
});
