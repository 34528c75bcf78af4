import { execFileSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { migrate as faultyMigrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { grow, migrateWell, nothingDone, workDone } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { relinkWell } from "../support/relink.ts";
import { file, makeTree, sparse } from "../support/tree.ts";

const MIB = 2 ** 20;
const data = "d".repeat(8192);
const zeros = (bytes: number) => "\0".repeat(bytes);

useFolders();

/** The same bytes twice: `dense` has them all written, `holey` leaves out what is zero. */
const twins = (between: number) => ({
  dense: file(data + zeros(between) + data),
  holey: sparse([data, between, data]),
});

const ino = (path: string) => statSync(join(target, path)).ino;
const written = (path: string) => statSync(join(target, path)).blocks * 512;

describe.skipIf(!requireFilesystem("ext4"))("files of equal content of which one has holes", () => {
  it.each([
    ["dense", "holey"],
    ["holey", "dense"],
  ] as const)("become one inode that keeps them, when the %s one comes first", (first, second) => {
    const [small, large] = [twins(8192), twins(3 * MIB)];
    // In inode order, which is that of their making.
    makeTree(source, {
      "daily.0/a": small[first],
      "daily.0/b": small[second],
      "daily.0/c": large[first],
      "daily.0/d": large[second],
    });
    const foreseen = migrateJson(["-j1", "--dry-run", source, target]).summary;
    const { summary } = migrateWell("-j1", source, target);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expect(ino("daily.0/a")).toBe(ino("daily.0/b"));
    expect(ino("daily.0/c")).toBe(ino("daily.0/d"));
    expect(summary).toMatchObject({ inodes: 4, createdInodes: 2, mergedInodes: 2 });
    expect(foreseen.writtenBytes).toBe(summary.writtenBytes);
  });

  it("are found where the source's filesystem cannot tell its holes", { timeout: 240_000 }, async () => {
    makeTree(source, {
      "daily.0/a": sparse([MIB + 5, data, 3 * MIB, data, 4096]),
      "daily.0/b": sparse([777]),
    });
    const rules = [
      {
        calls: ["lseek"],
        path: source,
        times: 1e6,
        action: { type: "fail", errno: constants.errno.EINVAL } as const,
      },
    ];
    const { code } = await faultyMigrate(source, target, { plan: { rules } });
    expect(code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
    expect(written("daily.0/a")).toBeLessThan(10 * 4096);
  });

  it("keep them where relink took a copy without holes into the store", { timeout: 240_000 }, async () => {
    const small = { ...twins(8192).holey, mtimeNs: 5_000_000_000n };
    const large = twins(3 * MIB).holey;
    makeTree(source, { "daily.0/a": small, "daily.1/a": small, "daily.0/b": large, "daily.1/b": large });
    execFileSync("cp", ["-a", "--sparse=never", `${source}/.`, target]);
    expect(compareTrees(source, target, { mergedOk: true }).map((each) => each.class)).toContain("hole");
    await grow();
    relinkWell(target);
    migrateWell(source, target);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expect(workDone(migrateWell(source, target).summary)).toEqual(nothingDone);
  });

  it("keep them where a copy without holes stands on the target", { timeout: 240_000 }, async () => {
    makeTree(source, { "daily.0/a": twins(3 * MIB).holey, "daily.0/b": sparse([8192, "x"]) });
    execFileSync("cp", ["-a", "--sparse=never", `${source}/.`, target]);
    await grow();
    migrateWell(source, target);
    expect(compareTrees(source, target)).toEqual([]);
    expect(workDone(migrateWell(source, target).summary)).toEqual(nothingDone);
  });
});

describe.skipIf(!requireFilesystem("btrfs"))("source and target on one btrfs", () => {
  it("share no extent of written zeros that another file has as a hole", async () => {
    await withFilesystem({ type: "btrfs", sizeBytes: 512 * MIB }, (mount) => {
      const [from, to] = [join(mount, "source"), join(mount, "target")];
      mkdirSync(to);
      const twin = twins(3 * MIB);
      makeTree(from, {
        "daily.0/a": twin.dense,
        "daily.0/b": twin.holey,
        "daily.0/c": file("c".repeat(2 * MIB)),
      });
      const foreseen = migrateJson(["-j1", "--dry-run", from, to]).summary;
      const { summary } = migrateWell("-j1", from, to);
      expect(compareTrees(from, to, { mergedOk: true })).toEqual([]);
      expect(foreseen.writtenBytes).toBe(summary.writtenBytes);
    });
  });
});
