import { execFileSync } from "node:child_process";
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { fingerprint, grow, migrateWell, nothingDone, workDone } from "../support/migrate.ts";
import { compareReport } from "../support/oracle.ts";
import { makeManyNames, type ManyNames } from "../support/many-names.ts";
import { dedupe } from "../support/dedupe.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
const limit = 65_000;

const able = requireFilesystem("ext4") && requireFilesystem("xfs");

const cases: { title: string; kind: ManyNames["kind"] }[] = [
  { title: "a file", kind: "file" },
  { title: "a symlink", kind: "symlink" },
  ...(isLong
    ? ([
        { title: "an empty file", kind: "empty" },
        { title: "a fifo", kind: "fifo" },
      ] as const)
    : []),
];

describe.skipIf(!able)("the names of an inode beyond the target's link limit", () => {
  for (const { title, kind } of cases) {
    it(`of ${title} become as few inodes as there must be, with room for the next cp -al`, async () => {
      await withFilesystem({ type: "xfs", sizeBytes: 512 * MIB }, async (sourceMount) => {
        const source = join(sourceMount, "source");
        makeManyNames(source, { kind, snapshots: 14, namesInEach: 5000 });
        await grow(2500);
        await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => {
          const target = join(mount, "target");
          mkdirSync(target);
          const { summary } = migrateWell(source, target);
          expect(summary).toMatchObject({ siblings: 1, linkLimit: limit, inodes: 1, createdInodes: 2 });
          expectGroup(source, target, 2);

          const made = fingerprint(target);
          expect(workDone(migrateWell(source, target).summary)).toEqual(nothingDone);
          expect(fingerprint(target)).toEqual(made);

          const [newest, copied] = [join(target, "daily.0"), join(target, "copied")];
          execFileSync("cp", ["-al", newest, copied], {
            stdio: ["ignore", "ignore", "pipe"],
            maxBuffer: 2 ** 26,
          });
          expect(compareReport(newest, copied)).toMatchObject({ differences: [], inodes: { a: 1, b: 1 } });
          expect(lstatSync(join(copied, "0")).ino).toBe(lstatSync(join(newest, "0")).ino);
        });
      });
    });
  }

  it("all follow when the inode changes in the source", async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 512 * MIB }, async (sourceMount) => {
      const source = join(sourceMount, "source");
      makeManyNames(source, { kind: "empty", snapshots: 14, namesInEach: 5000 });
      await grow();
      await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => {
        const target = join(mount, "target");
        mkdirSync(target);
        migrateWell(source, target);
        chmodSync(join(source, "daily.0", "0"), 0o600);
        expect(migrateWell(source, target).summary).toMatchObject({ createdInodes: 2, siblings: 1 });
        expectGroup(source, target, 2);
      });
    });
  });

  it("are told in one line", async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 512 * MIB }, async (sourceMount) => {
      const source = join(sourceMount, "source");
      makeManyNames(source, { kind: "file", snapshots: 14, namesInEach: 5000 });
      await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => {
        const { code, out } = dedupe(["migrate", "--no-progress", source, mount]);
        expect(code).toBe(0);
        const lines = out.split("\n").filter((line) => line.includes("65,000"));
        expect(lines).toEqual([
          "  link limit  1 further inode opened: the target allows 65,000 links to one inode",
        ]);
      });
    });
  });
});

function expectGroup(source: string, target: string, inodes: number): void {
  const { differences, inodes: counted } = compareReport(source, target, { splitOkAbove: limit });
  expect(differences).toEqual([]);
  expect(counted).toEqual({ a: 1, b: inodes });
}
