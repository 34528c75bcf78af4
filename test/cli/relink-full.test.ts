import { execFileSync } from "node:child_process";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupe } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { fill } from "../support/fill.ts";
import { compareTrees } from "../support/oracle.ts";
import { relinkWell } from "../support/relink.ts";
import { verify } from "../support/verify.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
const types: FilesystemType[] = isLong ? ["ext4", "ext3", "xfs"] : ["ext4"];

describe("a disk without a free block", () => {
  for (const type of types) {
    it.skipIf(!requireFilesystem(type))(`of type ${type} is healed`, { timeout: 300_000 }, async () => {
      await withFilesystem({ type: "tmpfs", sizeBytes: 1024 * MIB }, async (elsewhere) => {
        const original = join(elsewhere, "original");
        makeSnapshots(original);
        const sizeBytes = (type === "xfs" ? 320 : 160) * MIB;
        await withFilesystem({ type, sizeBytes }, (mount) => {
          const root = join(mount, "root");
          execFileSync("rsync", ["-a", `${original}/`, `${root}/`]);
          execFileSync("touch", ["-r", original, root]);
          fill(join(mount, "ballast"));
          expect(statfsSync(mount).bavail).toBeLessThan(16);
          const { summary, events } = relinkWell(root);
          expect(events.filter(({ code }) => code === "FULL")).toHaveLength(1);
          expect(compareTrees(original, root, { mergedOk: true })).toEqual([]);
          expect(summary).toMatchObject({ inodes: 4 * 240, mergedInodes: 3 * 240, linkedNames: 3 * 240 });
          expect(statfsSync(mount).bfree * statfsSync(mount).bsize).toBeGreaterThan(summary.freedBytes * 0.8);
          // The objects have come as well: another run has nothing to do.
          expect(relinkWell(root).summary).toMatchObject({ linkedNames: 0, objects: 0, freedBytes: 0 });
        });
      });
    });
  }
});

it.skipIf(!requireFilesystem("ext4"))(
  "a disk that stays nearly full gets its index in the end: it grew elsewhere, and nothing of it is left there",
  { timeout: 300_000 },
  async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      makeSnapshots(root, 10);
      fill(join(mount, "ballast"));
      const elsewhere = mkdtempSync(join(tmpdir(), "dedupe-test-"));
      const env = { PATH: process.env["PATH"], LC_ALL: "C", TMPDIR: elsewhere };
      expect(dedupe(["relink", "-q", root], { env })).toEqual({ code: 0, out: "", err: "" });
      expect(statfsSync(mount).bavail * statfsSync(mount).bsize).toBeLessThan(32 * MIB);
      expect(lstatSync(join(root, ".dedupe/index/data.mdb")).size).toBeGreaterThan(16_384);
      expect(readdirSync(elsewhere)).toEqual([]);
      rmSync(elsewhere, { recursive: true });
      expect(relinkWell(root).summary).toMatchObject({ readBytes: 0, linkedNames: 0 });
      expect(verify([root]).found).toEqual([]);
    });
  },
);

it.skipIf(!requireFilesystem("ext4"))(
  "a disk without a free inode is healed, whatever is ignored",
  async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB, options: ["-N", "1024"] }, (mount) => {
      const root = join(mount, "root");
      makeSnapshots(root, 10);
      for (let at = 0; statfsSync(mount).ffree > 0; at++)
        closeSync(openSync(join(mount, `ballast.${at}`), "w"));
      const { summary } = relinkWell("--ignore-xattrs", root);
      expect(summary).toMatchObject({ inodes: 4 * 210, mergedInodes: 3 * 210, objects: 210 });
      expect(summary.freedBytes).toBeGreaterThan(0);
      expect(relinkWell("--ignore-xattrs", root).summary).toMatchObject({ linkedNames: 0 });
      expect(verify([root]).found).toEqual([]);
    });
  },
);

describe.skipIf(!requireFilesystem("ext4"))("a disk without a free block that has a store", () => {
  for (const [title, commands, mergedInodes, linkedNames] of [
    [
      "gives names the inode that is an object, though others have more names",
      "cp -a daily.0 daily.1 && cp -al daily.1 daily.2",
      240,
      480,
    ],
    [
      "gives names the object that has none in the tree any more",
      "for day in 1 2 3; do cp -a daily.0 daily.$day; done; rm -r daily.0",
      720,
      720,
    ],
  ] as const)
    it(title, async () => {
      await withFilesystem({ type: "ext4", sizeBytes: 128 * MIB }, (mount) => {
        const root = join(mount, "root");
        makeSnapshots(root, 40, []);
        relinkWell("--full", root);
        execFileSync("sh", ["-c", commands], { cwd: root });
        fill(join(mount, "ballast"));
        expect(statfsSync(mount).bavail * statfsSync(mount).bsize).toBeLessThan(4 * MIB);
        const { freedBytes, objects } = relinkWell("--dry-run", root).summary;
        const { summary } = relinkWell(root);
        expect(summary).toMatchObject({ mergedInodes, linkedNames, freedBytes, objects });
        expect(relinkWell(root).summary).toMatchObject({ inodes: 240, linkedNames: 0 });
        expect(verify([root]).found).toEqual([]);
      });
    });
});

/** Four snapshots, or those asked for, each a full copy: large files and 200 small ones. */
function makeSnapshots(root: string, largeFiles = 40, copies = [1, 2, 3]): void {
  const first = join(root, "daily.0");
  for (const folder of ["large", "small"]) mkdirSync(join(first, folder), { recursive: true });
  const write = (path: string, bytes: number, seed: number): void => {
    const fd = openSync(path, "w");
    writeSync(fd, Buffer.alloc(bytes, `${String(seed)} of a kind\n`));
    closeSync(fd);
  };
  for (let seed = 0; seed < largeFiles; seed++)
    write(join(first, "large", String(seed)), 500_000 + seed, seed);
  for (let seed = 0; seed < 200; seed++) write(join(first, "small", String(seed)), 3000 + seed, seed);
  execFileSync("find", [root, "-exec", "touch", "-d", "2024-01-01 00:00:00", "{}", "+"]);
  for (const day of copies) execFileSync("cp", ["-a", first, join(root, `daily.${day}`)]);
  execFileSync("touch", ["-d", "2024-01-01 00:00:00", root]);
}
