import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { makeHostileTree } from "../support/hostile.ts";
import { migrateJson, type JsonRun } from "../support/dedupe.ts";
import { fingerprint, grow, nothingDone, untouched, workDone } from "../support/migrate.ts";
import { compareReport, compareTrees, type CompareOptions } from "../support/oracle.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
/* Half a minute each; a machine that is busy besides needs three times as long. */
const timeout = 480_000;

interface Target {
  readonly type: FilesystemType;
  /** Names in the crowded directory; the full crowd goes to ext4 only. */
  readonly entries: number;
  readonly limits?: CompareOptions;
  /** What the filesystem cannot hold at all: these names, in both snapshots, and nothing else may be missing. */
  readonly impossible?: readonly string[];
}

const targets: readonly Target[] = [
  { type: "ext4", entries: isLong ? 20_000 : 5000 },
  {
    type: "ext3-128",
    entries: isLong ? 2000 : 200,
    limits: { timeGranularityNs: 1e9, timeRange: [-(2 ** 31), 2 ** 31 - 1] },
  },
  {
    type: "xfs",
    entries: isLong ? 2000 : 200,
    // Majors up to 511, minors up to 2^18 - 1, symlinks up to 1,024 bytes.
    impossible: ["specials/b-4095-1048575", "specials/c-4095-1048575", "symlinks/4095"],
  },
  ...(isLong ? [{ type: "btrfs", entries: 2000 } as const] : []),
];

describe.skipIf(!requireFilesystem("ext4"))("a hostile tree", () => {
  for (const { type, entries, limits = {}, impossible = [] } of targets) {
    it.skipIf(!requireFilesystem(type))(
      `arrives exactly on ${type}; a second run changes nothing`,
      async () => {
        await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sourceMount) => {
          const hostile = makeHostileTree(join(sourceMount, "source"), { entries });
          expect(hostile.unsupported).toEqual([]);
          await grow();
          const before = untouched(hostile.root);
          await withFilesystem({ type, sizeBytes: 1024 * MIB }, (mount) => {
            const target = join(mount, "target");
            mkdirSync(target);
            const lost = ["daily.0", "daily.1"].flatMap((snapshot) =>
              impossible.map((name) => `${snapshot}/${name}`),
            );

            const first = migrateJson([hostile.root, target]);
            expect(failedPaths(first)).toEqual(lost);
            expect(first.code).toBe(lost.length === 0 ? 0 : 3);
            expectOneSummaryLast(first);
            const differences = compareTrees(hostile.root, target, { mergedOk: true, ...limits });
            expect(
              differences.filter((each) => each.class !== "missing" || !lost.includes(each.path)),
            ).toEqual([]);

            const made = fingerprint(target);
            const second = migrateJson([hostile.root, target]);
            expect(failedPaths(second)).toEqual(lost);
            expectOneSummaryLast(second);
            const incomplete = lost.length === 0 ? 0 : 2;
            expect(workDone(second.summary)).toEqual({ ...nothingDone, failures: lost.length, incomplete });
            expect(fingerprint(target)).toEqual(made);
            expect(untouched(hostile.root)).toEqual(before);
          });
          hostile.close();
        });
      },
      timeout,
    );
  }

  it("arrives with exactly its own link groups with --merge none", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sourceMount) => {
      const hostile = makeHostileTree(join(sourceMount, "source"), { entries: 200 });
      await grow();
      await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, (mount) => {
        const { code, summary } = migrateJson(["--merge", "none", hostile.root, mount]);
        expect(code).toBe(0);
        const { differences, inodes } = compareReport(hostile.root, mount);
        expect(differences).toEqual([]);
        expect(summary).toMatchObject({
          inodes: inodes.a,
          createdInodes: inodes.b,
          mergedInodes: 0,
          mergedBytes: 0,
        });
        const made = fingerprint(mount);
        expect(workDone(migrateJson(["--merge", "none", hostile.root, mount]).summary)).toEqual(nothingDone);
        expect(fingerprint(mount)).toEqual(made);
      });
      hostile.close();
    });
  });
});

function failedPaths({ events }: JsonRun): string[] {
  return events.flatMap(({ type, path }) => (type === "failure" ? [String(path)] : [])).sort();
}

/** Every line was JSON already, or `migrate` would have thrown. */
function expectOneSummaryLast({ events }: JsonRun): void {
  expect(events[0]?.type).toBe("start");
  expect(events.filter(({ type }) => type === "summary")).toHaveLength(1);
  expect(events.at(-1)?.type).toBe("summary");
}
