import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, useFolders } from "../support/folders.ts";
import { migrateWell } from "../support/migrate.ts";
import { file, makeTree, sparse } from "../support/tree.ts";

const MIB = 2 ** 20;
const ext4 = { type: "ext4", sizeBytes: 64 * MIB } as const;
const data = "d".repeat(8192);
const large = `${"0123456789abcdef".repeat(65_536)}large`;

useFolders();

/** A source on another filesystem than the target, with equal files large and small, and with and without holes. */
function makeSource(): void {
  makeTree(source, {
    "daily.0/large1": file(large),
    "daily.0/sparse1": sparse([MIB, data, MIB]),
    "daily.0/small1": file("small\n"),
    "daily.1/dense2": file("\0".repeat(MIB) + data + "\0".repeat(MIB)),
    "daily.1/large2": file(large),
    "daily.1/small2": file("small\n"),
    "daily.1/sparse2": sparse([MIB, data, MIB]),
  });
}

function expectForeseen(...args: string[]) {
  const figures = (...more: string[]) => {
    const { summary, err } = migrateJson([...more, "-j1", ...args]);
    expect(summary.type, err).toBe("summary");
    return { ...summary, readBytes: 0, elapsedMs: 0, peakRssAnonBytes: 0, dryRun: false };
  };
  const foreseen = figures("--dry-run");
  const done = figures();
  expect(foreseen).toEqual(done);
  return done;
}

describe.skipIf(!requireFilesystem("ext4"))("where the target has the files, but its store", () => {
  it("is gone, what is taken over is not merged, and not written", async () => {
    makeSource();
    await withFilesystem(ext4, (mount) => {
      migrateWell(source, mount);
      rmSync(join(mount, ".dedupe"), { recursive: true });
      const done = expectForeseen(source, mount);
      // Of each content one is taken over.
      expect(done).toMatchObject({ createdInodes: 0, writtenBytes: 0, mergedInodes: 4 });
    });
  });

  it("never was, a copy that filled holes is made anew", async () => {
    makeSource();
    await withFilesystem(ext4, (mount) => {
      execFileSync("cp", ["-a", "--sparse=never", `${source}/.`, mount]);
      expect(expectForeseen(source, mount).createdInodes).toBe(1);
      expectForeseen("--checksum", source, mount);
    });
  });

  it("has lost its index, nothing is merged of what is kept apart", async () => {
    makeSource();
    await withFilesystem(ext4, (mount) => {
      migrateWell("--merge", "none", source, mount);
      rmSync(join(mount, ".dedupe/index"), { recursive: true });
      expect(expectForeseen("--merge", "none", source, mount).mergedInodes).toBe(0);
    });
  });
});
