import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeManyNames } from "../support/many-names.ts";
import { fingerprint, grow, migrateWell, nothingDone, workDone } from "../support/migrate.ts";
import { compareReport } from "../support/oracle.ts";

const MIB = 2 ** 20;

describe.skipIf(!requireFilesystem("ext4") || !requireFilesystem("xfs"))("150,000 links to one inode", () => {
  it("arrive as three inodes, and each snapshot can be linked again", { timeout: 900_000 }, async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 512 * MIB }, async (sourceMount) => {
      const source = join(sourceMount, "source");
      makeManyNames(source, { kind: "file", snapshots: 300, namesInEach: 500 });
      await grow(2500);
      await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, (mount) => {
        const target = join(mount, "target");
        mkdirSync(target);
        const { summary } = migrateWell(source, target);
        expect(summary).toMatchObject({ inodes: 1, createdInodes: 3, siblings: 2, linkLimit: 65_000 });
        const { differences, inodes } = compareReport(source, target, { splitOkAbove: 65_000 });
        expect(differences).toEqual([]);
        expect(inodes).toEqual({ a: 1, b: 3 });

        const made = fingerprint(target);
        expect(workDone(migrateWell(source, target).summary)).toEqual(nothingDone);
        expect(fingerprint(target)).toEqual(made);

        for (const number of [0, 150, 299]) {
          const copied = join(target, `copied.${number}`);
          execFileSync("cp", ["-al", join(target, `daily.${number}`), copied]);
          expect(compareReport(join(target, `daily.${number}`), copied).differences).toEqual([]);
          execFileSync("rm", ["-r", copied]);
        }
      });
    });
  });
});
