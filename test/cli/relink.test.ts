import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RelinkSummary } from "../../src/report/events.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { diskBytes, healedDifferences, inflate, partition, relinkWell } from "../support/relink.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "../support/rsnapshot.ts";
import { requireTool } from "../support/skip.ts";

const MIB = 2 ** 20;

const types: { type: FilesystemType; limits: object }[] = [
  { type: "ext4", limits: {} },
  ...(isLong
    ? ([
        { type: "ext3-128", limits: { timeGranularityNs: 1e9, timeRange: [-(2 ** 31), 2 ** 31 - 1] } },
        { type: "xfs", limits: {} },
        { type: "btrfs", limits: {} },
      ] as const)
    : []),
];
const size = isLong ? { snapshots: 30, scale: 0.3 } : { snapshots: 5, scale: 0.06 };

/** An rsnapshot root on one filesystem, and room on another. */
async function withRoots(
  type: FilesystemType,
  test: (roots: { source: string; mount: string }) => void | Promise<void>,
  sizeBytes = 2048 * MIB,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sources) => {
    const source = join(sources, "root");
    makeRsnapshotRoot(source, size).close();
    await withFilesystem({ type, sizeBytes }, (mount) => test({ source, mount }));
  });
}

describe.skipIf(!requireRsnapshot())("an rsnapshot root that rsync inflated", () => {
  for (const { type, limits } of types) {
    it.skipIf(!requireFilesystem(type))(
      `is healed on ${type}: every name, attribute and directory time as before, and no block more than cp -a takes`,
      { timeout: 600_000 },
      async () => {
        await withRoots(type, ({ source, mount }) => {
          const [root, copy] = [join(mount, "root"), join(mount, "copy")];
          inflate(source, root);
          const inflated = diskBytes(root);
          execFileSync("cp", ["-a", source, copy]);
          const foreseen = relinkWell("--dry-run", root).summary;
          expect(diskBytes(root)).toBe(inflated);
          const { summary } = relinkWell(root);
          expect(healedDifferences(source, root, limits)).toEqual([]);
          expect(diskBytes(root)).toBeLessThanOrEqual(diskBytes(copy) * 1.01);
          expect(summary.bytes - summary.freedBytes).toBe(diskBytesOfFiles(root));
          expect(doneBy(summary)).toEqual(doneBy(foreseen));
          const again = relinkWell(root).summary;
          expect(again).toMatchObject({ linkedNames: 0, readBytes: 0, freedBytes: 0 });
        });
      },
    );
  }

  it("of which half was copied with -H after a first half without is healed too", async () => {
    await withRoots("ext4", ({ source, mount }) => {
      const root = join(mount, "root");
      inflate(join(source, "daily.0"), join(root, "daily.0"));
      inflate(join(source, "daily.1"), join(root, "daily.1"));
      inflate(source, root, "-H");
      relinkWell(root);
      expect(healedDifferences(source, root)).toEqual([]);
    });
  });

  it("and stopped midway is continued by migrate, which writes only what is missing", async () => {
    await withRoots("ext4", ({ source, mount }) => {
      const root = join(mount, "root");
      for (const name of ["daily.0", "daily.1"]) inflate(join(source, name), join(root, name));
      relinkWell(root);
      const { summary } = migrateWell(source, root);
      expect(summary.failures).toBe(0);
      const whole = join(mount, "whole");
      mkdirSync(whole);
      const fresh = migrateWell(source, whole).summary;
      rmSync(whole, { recursive: true });
      expect(compareTrees(source, root, { mergedOk: true })).toEqual([]);
      // Two of the snapshots were there: what is written is the rest, of content and of inodes.
      const there = diskBytes(join(root, "daily.0"));
      expect(summary.writtenBytes).toBeLessThan(fresh.writtenBytes - there / 2);
      expect(migrateWell(source, root).summary).toMatchObject({ writtenBytes: 0, readBytes: 0 });
    });
  });

  it.skipIf(!requireTool("jdupes") || !requireTool("rdfind") || !requireTool("hardlink"))(
    "has the partition of names into inodes that jdupes -L, rdfind and hardlink -X make",
    { timeout: 600_000 },
    async () => {
      await withRoots(
        "ext4",
        ({ source, mount }) => {
          const copyOf = (root: string, name: string): string => {
            execFileSync("cp", ["-a", root, join(mount, name)]);
            return join(mount, name);
          };
          const root = join(mount, "root");
          inflate(source, root);
          // hardlink compares times by the second.
          execFileSync("python3", ["-c", wholeSeconds, root]);
          const theirs = copyOf(root, "hardlink");
          execFileSync("hardlink", ["-X", "-q", theirs], { stdio: "ignore" });
          const ours = copyOf(root, "ours");
          relinkWell(ours);
          expect(partition(ours)).toEqual(partition(theirs));
          // The others compare content alone: times, modes and owners are made equal for all.
          execFileSync("find", [root, "-type", "f", "-exec", "chmod", "644", "{}", "+"]);
          execFileSync("find", [root, "-type", "f", "-exec", "touch", "-d", "2024-01-01", "{}", "+"]);
          const [jdupes, rdfind] = [copyOf(root, "jdupes"), copyOf(root, "rdfind")];
          execFileSync("jdupes", ["-r", "-L", "-q", jdupes], { stdio: "ignore" });
          const options = ["-makehardlinks", "true", "-makeresultsfile", "false"];
          execFileSync("rdfind", [...options, rdfind], { stdio: "ignore" });
          relinkWell(root);
          expect(partition(root)).toEqual(partition(jdupes));
          expect(partition(root)).toEqual(partition(rdfind));
        },
        (isLong ? 8192 : 2048) * MIB,
      );
    },
  );
});

const wholeSeconds = `
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        seconds = int(os.lstat(path).st_mtime)
        os.utime(path, (seconds, seconds), follow_symlinks=False)
`;
import { isLong } from "../support/long.ts";

function doneBy({ linkedNames, mergedInodes, freedBytes, siblings, outsideInodes }: Summary) {
  return { linkedNames, mergedInodes, freedBytes, siblings, outsideInodes };
}
type Summary = RelinkSummary;

/** As `find` sees them: regular files with content. */
function diskBytesOfFiles(root: string): number {
  const lines = execFileSync(
    "find",
    [root, "-path", `${root}/.dedupe`, "-prune", "-o", "-type", "f", "-size", "+0", "-printf", "%i %b\n"],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  const seen = new Map(
    lines
      .trim()
      .split("\n")
      .map((line) => line.split(" ") as [string, string]),
  );
  return [...seen.values()].reduce((sum, blocks) => sum + Number(blocks) * 512, 0);
}
