import { execFileSync } from "node:child_process";
import { copyFileSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compactWell } from "../support/compact.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeManyNames } from "../support/many-names.ts";
import { migrateWell } from "../support/migrate.ts";
import { against, verify } from "../support/verify.ts";

const able = requireFilesystem("ext4") && requireFilesystem("xfs");

describe.skipIf(!able)("a group beyond the target's link limit", () => {
  it("may be several inodes of which all but one are nearly full, and no others", async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 2 ** 29 }, async (sourceMount) => {
      const source = join(sourceMount, "source");
      makeManyNames(source, { kind: "file", snapshots: 14, namesInEach: 5000 });
      await withFilesystem({ type: "ext4", sizeBytes: 2 ** 29 }, (mount) => {
        const target = join(mount, "target");
        mkdirSync(target);
        expect(migrateWell(source, target).summary.siblings).toBe(1);
        const run = against(source, target);
        expect(run).toMatchObject({ code: 0, found: [] });
        expect(run.summary.notes).toEqual({ siblings: 1 });
        expect(run.summary.rootDigest?.source).toBe(run.summary.rootDigest?.target);
        expect(verify([target])).toMatchObject({ code: 0, found: [], noted: [] });

        // A third inode with few links: one too many has room left.
        const name = readdirSync(join(target, "daily.13"))[0]!;
        const path = join(target, "daily.13", name);
        const { atime, mtime } = lstatSync(join(target, "daily.13"));
        copyFileSync(path, join(target, "aside"));
        execFileSync("touch", ["-r", path, join(target, "aside")]);
        renameSync(join(target, "aside"), path);
        utimesSync(join(target, "daily.13"), atime, mtime);
        const broken = against(source, target, "-j", "1");
        expect(broken.found.filter((line) => line.startsWith("split"))).toHaveLength(1);
      });
    });
  });

  for (const { kind, snapshots, gone } of [
    { kind: "file", snapshots: 20, gone: [0, 1, 2, 3, 4, 5, 6, 17, 18, 19] },
    { kind: "symlink", snapshots: 14, gone: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] },
  ] as const)
    it(`stays several inodes of a ${kind} when names go, as compact leaves them`, async () => {
      await withFilesystem({ type: "xfs", sizeBytes: 2 ** 29 }, async (sourceMount) => {
        const source = join(sourceMount, "source");
        makeManyNames(source, { kind, snapshots, namesInEach: 5000 });
        await withFilesystem({ type: "ext4", sizeBytes: 2 ** 29 }, (mount) => {
          const target = join(mount, "target");
          mkdirSync(target);
          expect(migrateWell(source, target).summary.siblings).toBe(1);
          for (const number of gone)
            for (const root of [source, target]) rmSync(join(root, `daily.${number}`), { recursive: true });
          for (const root of [source, target]) utimesSync(root, 1, 1);
          expect(compactWell(target).summary.fold.siblings).toBe(0);
          const run = against(source, target);
          expect(run).toMatchObject({ code: 0, found: [], summary: { notes: { siblings: 1 } } });
        });
      });
    });
});
