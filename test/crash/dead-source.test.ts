import { execFileSync } from "node:child_process";
import { readdirSync, rmSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem, type Filesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

/** EXT4_IOC_SHUTDOWN without flushing the journal: from there on every read is an input/output error. */
const shutDown = (mount: string): string =>
  `python3 -c "import fcntl, os; fcntl.ioctl(os.open('${mount}', os.O_RDONLY), 0x8004587D, (2).to_bytes(4, 'little'))"`;

describe.skipIf(!requireFilesystem("ext4"))("a source that answers EIO", () => {
  it("for every file ends the run, which publishes nothing of what it could not read", async () => {
    await withSource(async (root, filesystem) => {
      const command = shutDown(filesystem.mountPoint);
      const rules = [
        { calls: ["pread"], path: root, at: 60, action: { type: "run", when: "after", command } as const },
      ];
      const run = await migrate(root, target, { plan: { rules } });
      expect(run).toMatchObject({ code: 1, summary: { error: { code: "EIO" } } });
      expect(run.summary?.error?.message).toContain("the source failed");
      expect(run.failures.length).toBeLessThan(10);
      expect(readdirSync(target)).toEqual([".dedupe"]);
      filesystem.cycle();
      expect((await migrate(root, target)).code).toBe(0);
      expect(compareTrees(root, target)).toEqual([]);
    });
  });

  it("for a directory full of files lists each of them, and goes on", async () => {
    await withSource(async (root) => {
      const action = { type: "fail", errno: constants.errno.EIO } as const;
      const rules = [{ calls: ["pread"], path: `${root}/daily.1`, times: 1e6, action }];
      const run = await migrate(root, target, { plan: { rules } });
      expect(run).toMatchObject({ code: 3, summary: { failures: 50 } });
      expect(readdirSync(join(target, "daily.0")).length).toBe(100);
    });
  });
});

describe("content that the target's disk does not give", () => {
  it.each([
    { what: "of a name", gone: ".dedupe" },
    { what: "of an object", gone: ".dedupe/index" },
  ])("($what) is made anew from the source, and the run goes on", async ({ gone }) => {
    makeTree(source, { "daily.0/one": file("one"), "daily.0/two": file("two") });
    expect((await migrate(source, target)).code).toBe(0);
    rmSync(join(target, gone), { recursive: true });
    const before = statSync(join(target, "daily.0/one")).ino;
    const action = { type: "fail", errno: constants.errno.EIO } as const;
    const rules = ["/objects/", "target/daily.0/one"].map((path) => ({
      ...{ calls: ["pread"], path, times: 1e6, action },
    }));
    expect((await migrate(source, target, { plan: { rules } })).code).toBe(0);
    expect(statSync(join(target, "daily.0/one")).ino).not.toBe(before);
    expect(compareTrees(source, target)).toEqual([]);
  });
});

describe("a target whose rename takes no flags", () => {
  it("is refused before anything is read, and keeps nothing of the run", async () => {
    makeTree(source, { "daily.0/one": file("one") });
    const action = { type: "fail", errno: constants.errno.EINVAL } as const;
    const rules = [{ calls: ["renameat2"], path: ".dedupe", times: 1e6, action }];
    const run = await migrate(source, target, { plan: { rules } });
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("cannot rename without replacing");
    expect(readdirSync(target)).toEqual([]);
  });
});

async function withSource(task: (root: string, filesystem: Filesystem) => Promise<void>): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 2 ** 26 }, async (mount, filesystem) => {
    const root = join(mount, "root");
    const files = (snapshot: string, count: number) =>
      Array.from({ length: count }, (_, index) => `${snapshot}/${String(index)}`);
    const names = [...files("daily.0", 100), ...files("daily.1", 50)];
    makeTree(root, Object.fromEntries(names.map((name) => [name, file(name.repeat(1000))])));
    // What is shut down keeps nothing that is not on the disk.
    execFileSync("sync", ["-f", root]);
    await task(root, filesystem);
  });
}
