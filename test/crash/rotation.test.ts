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

/** Runs the command in the source just before the directory is read. */
async function migrateWhile(command: string, directory: string) {
  const rule = {
    ...{ calls: ["getdents64"], path: directory },
    action: { type: "run", when: "before", command: `cd ${source} && ${command}` },
  } as const;
  return migrate(source, target, { plan: { rules: [rule] }, args: ["-j1"] });
}

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

  it("is none where a snapshot merely came meanwhile", async () => {
    const { code, failures, stdout } = await migrateWhile("cp -a daily.0 weekly.0", "daily.1/sub");
    expect([code, failures]).toEqual([0, []]);
    expect(stdout).toContain("CAME_MEANWHILE");
  });
});
