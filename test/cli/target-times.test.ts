import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson, type JsonRun } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, file, linkTo, makeTree, symlink } from "../support/tree.ts";

const SECOND = 1_000_000_000n;

useFolders();

const coarse = ({ events }: JsonRun) =>
  events.filter((event) => event.type === "notice" && event.code === "COARSE_TIMES");

describe.skipIf(!requireFilesystem("ext3-128"))("a target of whole seconds that end in 2038", () => {
  it("says that it rounds times down, and counts those that it cannot hold", async () => {
    makeTree(source, {
      "daily.0": directory({ mtimeNs: 1_600_000_000n * SECOND }),
      "daily.0/rounded": file("rounded", { mtimeNs: 1_600_000_000n * SECOND + 999_999_999n }),
      "daily.0/late": file("late", { mtimeNs: 10_000_000_000n * SECOND }),
      "daily.0/first": file("first", { mtimeNs: -(2n ** 31n) * SECOND }),
      "daily.0/last": file("last", { mtimeNs: (2n ** 31n - 1n) * SECOND + 5n }),
      "daily.0/box": directory({ mtimeNs: 10_000_000_000n * SECOND }),
      "daily.1": directory({ mtimeNs: 1_600_000_000n * SECOND }),
      "daily.1/late": linkTo("daily.0/late"),
    });
    await withFilesystem({ type: "ext3-128", sizeBytes: 64 * 2 ** 20 }, (mount) => {
      const foreseen = migrateJson(["--dry-run", source, mount]);
      const first = migrateJson([source, mount]);
      expect(first.code).toBe(0);
      expect(first.summary.lostTimes).toBe(2);
      expect(foreseen.summary.lostTimes).toBe(2);
      const message = "the target keeps modification times in whole seconds only: they are rounded down";
      for (const run of [foreseen, first]) expect(coarse(run)).toMatchObject([{ level: "info", message }]);
      const strict = migrateJson(["--strict", source, mount]);
      expect(strict.summary).toMatchObject({ lostTimes: 2, exitCode: 3 });
      expect(strict.summary.snapshots.unchanged).toBe(2);
    });
  });
});

describe.skipIf(!requireFilesystem("ext4"))("a target that keeps nanoseconds", () => {
  it("says nothing of times", async () => {
    makeTree(source, { "daily.0/late": file("late", { mtimeNs: 10_000_000_000n * SECOND + 1n }) });
    await withFilesystem({ type: "ext4", sizeBytes: 64 * 2 ** 20 }, (mount) => {
      const run = migrateJson(["--strict", source, mount]);
      expect(run.summary).toMatchObject({ lostTimes: 0, exitCode: 0 });
      expect(coarse(run)).toEqual([]);
    });
  });
});

describe.skipIf(!requireFilesystem("xfs"))("a target whose exchange of two names touches a directory", () => {
  it("gives directories that take the place of a file or symlink their own times", async () => {
    makeTree(source, { "daily.0/name": file("x"), "daily.2": symlink("daily.0"), hosts: file("x") });
    await withFilesystem({ type: "xfs", sizeBytes: 320 * 2 ** 20 }, (mount) => {
      expect(migrateJson([source, mount]).code).toBe(0);
      for (const name of ["daily.0/name", "daily.2", "hosts"]) rmSync(join(source, name));
      const mtimeNs = 1_500_000_000n * SECOND + 1n;
      makeTree(source, {
        "daily.0/name": directory({ mtimeNs }),
        "daily.2": directory({ mtimeNs }),
        hosts: directory({ mtimeNs }),
        "hosts/daily.0": directory({ mtimeNs }),
      });
      expect(migrateJson([source, mount]).code).toBe(0);
      expect(compareTrees(source, mount)).toEqual([]);
    });
  });
});
