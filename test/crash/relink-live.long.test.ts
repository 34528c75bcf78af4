import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { leftovers, relink } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { compareTrees } from "../support/oracle.ts";
import { relink as relinkNow, relinkWell, healedDifferences, inflate } from "../support/relink.ts";
import { repositoryRoot } from "../support/repository-root.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "../support/rsnapshot.ts";
import { fill } from "../support/fill.ts";
import { isLong } from "../support/long.ts";

vi.setConfig({ testTimeout: 7_200_000 });

const MIB = 2 ** 20;

/** A helper that works on the tree until it is told to stop, and then says how it went. */
async function beside(script: string, root: string): Promise<{ stop(): Promise<string> }> {
  const helper = spawn("python3", ["-B", join(repositoryRoot, "test/support", script), root], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let out = "";
  const ended = new Promise((resolve) => helper.on("close", resolve));
  const ready = new Promise((resolve) =>
    helper.stdout.on("data", (part: Buffer) => resolve((out += part.toString()))),
  );
  await Promise.race([ready, ended]);
  if (out === "") throw new Error(`${script} ended before it began`);
  return {
    stop: async () => {
      helper.stdin.end();
      await ended;
      return out.split("\n")[1] ?? "";
    },
  };
}

/** An rsnapshot root of ten snapshots on a filesystem, and beside it the same as rsync without -H leaves it. */
async function withInflated(
  test: (roots: { root: string; source: string; mount: string }) => Promise<void>,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 3072 * MIB }, async (mount) => {
    const [source, root] = [join(mount, "source"), join(mount, "root")];
    makeRsnapshotRoot(source, { snapshots: 10, scale: 0.2 }).close();
    inflate(source, root);
    await test({ root, source, mount });
  });
}

describe.skipIf(!isLong || !requireRsnapshot() || !requireFilesystem("ext4"))(
  "relink of a live drive",
  () => {
    it("killed at 50 random moments leaves every name right after each; the next run finishes", async () => {
      await withInflated(async ({ root, source, mount }) => {
        const copy = join(mount, "copy");
        const whole = await relink(root);
        expect(whole.code).toBe(0);
        let [killed, rounds, isNew] = [0, 0, true];
        for (; killed < 50 && rounds < 200; rounds++) {
          // Now and then anew, so that kills hit all phases of a run.
          if (isNew) {
            execFileSync("rm", ["-rf", copy]);
            inflate(source, copy);
          }
          const { code } = await relink(copy, { killAfterMs: Math.random() * whole.ms });
          killed += code === null ? 1 : 0;
          isNew = code !== null || killed % 5 === 0;
          const broken = compareTrees(source, copy, { mergedOk: true }).filter(
            ({ class: kind, path }) =>
              kind !== "group-split" && !(kind === "mtime" && isDirectory(copy, path)),
          );
          expect(broken).toEqual([]);
          if (!isNew) continue;
          expect((await relink(copy)).code).toBe(0);
          expect(healedDifferences(source, copy).filter(({ path }) => path !== ".")).toEqual([]);
          expect(leftovers(copy)).toEqual([]);
        }
        process.stdout.write(`${killed} of ${rounds} runs were killed\n`);
        expect(killed).toBe(50);
      });
    });

    it("is never without a name: 10,000 reads beside it find each file, and no wrong byte", async () => {
      await withInflated(async ({ root, source }) => {
        const reader = await beside("reader.py", root);
        expect((await relink(root)).code).toBe(0);
        const read = await reader.stop();
        process.stdout.write(`${read}\n`);
        expect(read).toMatch(/^\d{5,} reads, 0 bad$/);
        expect(healedDifferences(source, root)).toEqual([]);
      });
    });

    it("loses nothing that another program writes all the time", async () => {
      await withInflated(async ({ root }) => {
        const writer = await beside("writer.py", root);
        const first = await relink(root);
        const second = await relink(root);
        const written = await writer.stop();
        process.stdout.write(`${written}; ${first.failures.length + second.failures.length} left alone\n`);
        expect([0, 3]).toContain(first.code);
        expect(written).toMatch(/^[1-9]\d* writes, 0 lost$/);
        expect(leftovers(root)).toEqual([]);
      });
    });

    it("heals a tree whose rsync was killed midway and then begun again with -H", async () => {
      await withInflated(async ({ source, mount }) => {
        const half = join(mount, "half");
        mkdirSync(half);
        const rsync = spawn("rsync", ["-aAX", `${source}/`, `${half}/`]);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        rsync.kill("SIGKILL");
        await new Promise((resolve) => setTimeout(resolve, 500));
        inflate(source, half, "-H");
        expect(relinkNow(half).code).toBe(0);
        expect(healedDifferences(source, half)).toEqual([]);
      });
    });
  },
);

describe.skipIf(!isLong)("relink of very many inodes", () => {
  for (const type of ["ext4", "ext3", "xfs"] as FilesystemType[])
    it.skipIf(!requireFilesystem(type))(`heals a full ${type} of 200,000 inodes`, async () => {
      const options = type === "xfs" ? [] : ["-i", "4096"];
      await withFilesystem(
        { type, sizeBytes: (type === "xfs" ? 1408 : 1024) * MIB, options },
        async (mount) => {
          const root = join(mount, "root");
          makeMany(root, 200_000, 3000);
          fill(join(mount, "ballast"));
          expect(statfsSync(mount).bavail).toBeLessThan(16);
          const { summary } = relinkWell(root);
          expect(summary).toMatchObject({ inodes: 200_000, mergedInodes: 150_000 });
          expect(relinkWell(root).summary).toMatchObject({ linkedNames: 0 });
        },
      );
    });

  it.skipIf(!requireFilesystem("ext4"))(
    "needs no more memory for 500,000 files than for 250,000",
    async () => {
      const peaks: number[] = [];
      for (const files of [250_000, 500_000])
        await withFilesystem(
          { type: "ext4", sizeBytes: 4096 * MIB, options: ["-i", "4096"] },
          async (mount) => {
            const root = join(mount, "root");
            makeMany(root, files, 300);
            peaks.push(relinkWell(root).summary.peakRssAnonBytes);
          },
        );
      process.stdout.write(`peak RssAnon ${peaks.map((peak) => Math.round(peak / MIB)).join(" and ")} MiB\n`);
      expect(peaks[1]).toBeLessThan(peaks[0]! * 1.15);
    },
  );
});

/** Every content four times, in folders of 1,000 names, with times that are equal for all. */
function makeMany(root: string, files: number, mostBytes: number): void {
  execFileSync("python3", ["-c", many, root, String(files), String(mostBytes)]);
}

const many = `
import os, sys
root, files, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for at in range(files):
    folder = os.path.join(root, "daily.%d" % (at * 4 // files), "d%d" % (at // 1000))
    if at % 1000 == 0: os.makedirs(folder, exist_ok=True)
    content = at % (files // 4)
    path = os.path.join(folder, "f%d" % at) if os.path.isdir(folder) else None
    if path is None:
        os.makedirs(folder); path = os.path.join(folder, "f%d" % at)
    with open(path, "wb") as out: out.write((b"%d " % content) * (1 + content % (most // 8)))
    os.utime(path, (1600000000, 1600000000))
`;

function isDirectory(root: string, path: string): boolean {
  try {
    execFileSync("test", ["-d", join(root, path)]);
    return true;
  } catch {
    return false;
  }
}
