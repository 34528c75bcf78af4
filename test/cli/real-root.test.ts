import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compareTrees } from "../support/oracle.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { makeRsnapshotRoot } from "../support/rsnapshot.ts";
import { requireTool } from "../support/skip.ts";
import { repositoryRoot } from "../support/repository-root.ts";
import { isLong } from "../support/long.ts";

const dedupe = join(repositoryRoot, "bin", "dedupe.js");
const MIB = 2 ** 20;

const targets: { type: FilesystemType; limits: object }[] = [
  { type: "ext4", limits: {} },
  { type: "ext3-128", limits: { timeGranularityNs: 1e9, timeRange: [-(2 ** 31), 2 ** 31 - 1] } },
  ...(isLong ? [{ type: "xfs", limits: {} } as const] : []),
  { type: "btrfs", limits: {} },
];

describe.skipIf(!requireTool("rsnapshot"))("a real rsnapshot root", () => {
  for (const { type, limits } of targets) {
    it.skipIf(!requireFilesystem(type))(
      `arrives exactly on ${type}, and rsnapshot goes on there`,
      async () => {
        await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (sourceMount) => {
          const made = makeRsnapshotRoot(join(sourceMount, "root"), { snapshots: 12, scale: 0.15 });
          await withFilesystem({ type, sizeBytes: 512 * MIB }, async (mount) => {
            const target = join(mount, "target");
            mkdirSync(target);
            const source = join(sourceMount, "root");
            execFileSync(process.execPath, [dedupe, "migrate", "--no-progress", source, target]);
            expect(compareTrees(source, target, { mergedOk: true, ...limits })).toEqual([]);
            made.change();
            made.backup(target);
            expect(
              compareTrees(made.live, made.inSnapshot("daily.0", target), { mergedOk: true, ...limits }),
            ).toEqual([]);
            made.close();
          });
        });
      },
    );
  }
});
