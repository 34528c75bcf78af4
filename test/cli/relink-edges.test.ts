import { execFileSync, spawn } from "node:child_process";
import { chmodSync, linkSync, lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupe, startDedupe } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeInflatedRoot } from "../support/inflated-root.ts";
import { makeManyNames } from "../support/many-names.ts";
import { compareTrees, manifest } from "../support/oracle.ts";
import { healedDifferences, relink, relinkWell } from "../support/relink.ts";
import { brokenNames } from "../support/relink-sweep.ts";
import { repositoryRoot } from "../support/repository-root.ts";
import { directory, file, makeTree } from "../support/tree.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;

async function withInflated(
  test: (roots: { root: string; original: string; mount: string }) => void | Promise<void>,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (mount) => {
    const [root, original] = [join(mount, "root"), join(mount, "original")];
    makeInflatedRoot(root, original);
    await test({ root, original, mount });
  });
}

describe.skipIf(!requireFilesystem("ext4"))("relink", () => {
  it("frees nothing by an inode with a name outside the root, and says so", async () => {
    await withInflated(({ root, original, mount }) => {
      linkSync(join(root, "daily.0/large"), join(mount, "outside"));
      const { blocks } = lstatSync(join(root, "daily.0/large"));
      const foreseen = relinkWell("-n", root).summary;
      const { summary } = relinkWell(root);
      expect(summary).toMatchObject({ outsideInodes: 1, mergedInodes: 7, linkedNames: 8 });
      expect(foreseen).toMatchObject({ outsideInodes: 1, mergedInodes: 7, freedBytes: summary.freedBytes });
      expect(summary.freedBytes).toBeLessThan(2 * blocks * 512);
      expect(lstatSync(join(mount, "outside")).nlink).toBe(1);
      expect(healedDifferences(original, root)).toEqual([]);
    });
  });

  it("believes in a dry run what the index knows, and writes nothing on the target for it", async () => {
    await withInflated(({ root, mount }) => {
      const indexDir = join(mount, "../index");
      mkdirSync(indexDir);
      for (const options of [[], ["--index", indexDir]]) {
        expect(relinkWell("-n", ...options, root).summary.readInodes).toBeGreaterThan(0);
        relinkWell(...options, root);
        execFileSync("mount", ["-o", "remount,ro", mount]);
        expect(relinkWell("-n", ...options, root).summary).toMatchObject({ readInodes: 0, linkedNames: 0 });
        execFileSync("mount", ["-o", "remount,rw", mount]);
        rmSync(join(root, ".dedupe"), { recursive: true });
      }
    });
  });

  it("leaves a directory that is mounted a second time alone, and what lies on another filesystem", async () => {
    await withInflated(async ({ root, original }) => {
      await withFilesystem({ type: "tmpfs", sizeBytes: 16 * MIB }, (other) => {
        const points = [join(root, "daily.0/twice"), join(root, "daily.0/other")];
        for (const point of points) mkdirSync(point);
        execFileSync("mount", ["--bind", join(root, "daily.1/docs"), points[0]!]);
        execFileSync("mount", ["--bind", other, points[1]!]);
        try {
          execFileSync("cp", ["-a", join(root, "daily.0/own"), other]);
          const { summary } = relinkWell(root);
          expect(summary).toMatchObject({ foreignDirectories: 2, twiceInodes: 0, linkedNames: 8 });
          expect(relinkWell("-x", root).summary).toMatchObject({ foreignDirectories: 0 });
        } finally {
          for (const point of points) execFileSync("umount", [point]);
        }
        const found = brokenNames(original, root);
        expect(found.map(({ path }) => path)).toEqual(["daily.0/other", "daily.0/twice"]);
      });
    });
  });

  it("keeps apart from their equals the names beyond the link limit, without copying", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => {
      const root = join(mount, "root");
      mkdirSync(root);
      for (const part of ["a", "b", "c"])
        makeManyNames(join(root, part), { kind: "file", snapshots: 5, namesInEach: 5000 });
      execFileSync("find", [root, "-exec", "touch", "-d", "2024-01-01", "{}", "+"]);
      const foreseen = relinkWell("-n", root).summary;
      const { summary } = relinkWell(root);
      expect(summary).toMatchObject({ siblings: 1, mergedInodes: 1, linkedNames: 25_000, linkLimit: 65_000 });
      expect(foreseen).toMatchObject({ siblings: 1, mergedInodes: 1, linkedNames: 25_000 });
      expect(relinkWell(root).summary).toMatchObject({ linkedNames: 0, siblings: 0 });
    });
  });

  it("of an ordinary user lists what may not be changed, and changes no mode", async () => {
    await withInflated(({ root, original, mount }) => {
      for (const path of [join(mount, ".."), mount, root]) chmodSync(path, 0o755);
      execFileSync("chown", ["-R", "1000:1000", root, original]);
      execFileSync("chmod", ["u-w", join(root, "daily.0/docs/deep")]);
      const { code, out } = dedupe(["relink", "--json", root], { uid: 1000, gid: 1000 });
      expect(code).toBe(3);
      const failures = out.split("\n").filter((line) => line.includes('"failure"'));
      expect(failures).toHaveLength(1);
      expect(failures[0]).toMatch(/"path":"daily\.0\/docs\/deep\/same","code":"EACCES"/);
      execFileSync("chmod", ["u-w", join(original, "daily.0/docs/deep")]);
      const found = healedDifferences(original, root).filter(({ class: kind }) => kind !== "group-split");
      expect(found).toEqual([]);
    });
  });

  it("of an ordinary user leaves a directory alone whose time it could not put back", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      const days = [0, 1].map((day) => join(root, `daily.${String(day)}`));
      makeTree(root, {
        "daily.0/a": file("same", { mtimeNs: 10n ** 18n }),
        "daily.1/a": file("same", { mtimeNs: 10n ** 18n }),
      });
      execFileSync("chown", ["-R", "1000:1000", root]);
      execFileSync("chown", ["root", days[1]!]);
      for (const path of [join(mount, ".."), mount, root]) chmodSync(path, 0o755);
      chmodSync(days[1]!, 0o777);
      execFileSync("touch", ["-d", "2024-01-01", ...days]);
      const { code, out } = dedupe(["relink", "--json", root], { uid: 1000, gid: 1000 });
      expect(code).toBe(3);
      expect(out).toMatch(/"type":"failure","path":"daily\.1","code":"EPERM"/);
      expect(lstatSync(days[1]!).mtime).toEqual(lstatSync(days[0]!).mtime);
      expect(lstatSync(join(days[1]!, "a")).ino).not.toBe(lstatSync(join(days[0]!, "a")).ino);
    });
  });

  it("leaves an inode that can have no further name alone, and makes one of its equals", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      const names = ["full", "a", "b", "c"];
      mkdirSync(root);
      makeTree(
        join(root, "daily.0"),
        Object.fromEntries(names.map((name) => [name, file("same", { mtimeNs: 10n ** 18n })])),
      );
      for (let at = 1; at < 65_000; at++)
        linkSync(join(root, "daily.0/full"), join(root, `daily.0/${String(at)}`));
      const counted = { siblings: 1, mergedInodes: 2, objects: 1 };
      expect(relinkWell("-n", root).summary).toMatchObject(counted);
      expect(relinkWell(root).summary).toMatchObject(counted);
      expect(
        readdirSync(join(root, ".dedupe/objects")).flatMap((fan) =>
          readdirSync(join(root, ".dedupe/objects", fan)),
        ),
      ).toEqual([expect.not.stringMatching(/\.1$/)]);
      expect(relinkWell(root).summary).toMatchObject({ siblings: 1, linkedNames: 0 });
    });
  });

  it("leaves no store where it was refused, and needs no folder for the index in a dry run", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      makeTree(root, { "daily.0/a": file("same") });
      expect(dedupe(["relink", "--index", "/dev/null/index", root]).code).toBeGreaterThan(0);
      expect(readdirSync(root)).toEqual(["daily.0"]);
      expect(dedupe(["relink", "-n", "--index", join(mount, "missing"), root])).toMatchObject({ code: 0 });
      const target = join(mount, "target");
      mkdirSync(target);
      expect(dedupe(["migrate", "-q", "--merge", "none", root, target])).toMatchObject({ code: 0 });
      expect(dedupe(["relink", target]).err).toMatch(/made by migrate --merge none.*\n.*remove \.dedupe/);
    });
  });

  it("says nothing of the time of a directory in which it could change nothing", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      makeTree(root, {
        "daily.0/a": file("same", { mtimeNs: 10n ** 18n }),
        "daily.1/a": file("same", { mtimeNs: 10n ** 18n }),
      });
      execFileSync("chattr", ["+i", join(root, "daily.1")]);
      const { code, events } = relink(root);
      execFileSync("chattr", ["-i", join(root, "daily.1")]);
      const failures = events.filter(({ type }) => type === "failure");
      expect(code).toBe(3);
      expect(failures).toMatchObject([{ path: "daily.1/a", code: "EPERM" }]);
    });
  });

  it("merges only what is in the range of sizes, and what the filters leave", async () => {
    await withInflated(({ root, original }) => {
      const { summary } = relinkWell("--min-size", "1M", "--exclude", "/daily.2/", root);
      expect(summary).toMatchObject({ linkedNames: 1, mergedInodes: 1 });
      expect(brokenNames(original, root)).toEqual([]);
      expect(relinkWell(root).summary).toMatchObject({ linkedNames: 7 });
      expect(healedDifferences(original, root)).toEqual([]);
    });
  });

  it("merges what differs in an attribute that is to be ignored, and refuses other rules later", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 256 * MIB }, (mount) => {
      const root = join(mount, "root");
      mkdirSync(root);
      makeTree(root, {
        "daily.0/a": file("same\n", { mtimeNs: 1_600_000_000_000_000_000n }),
        "daily.1/a": file("same\n", { mtimeNs: 1_600_000_001_000_000_000n }),
        "daily.1": directory(),
      });
      expect(relinkWell("-n", root).summary.linkedNames).toBe(0);
      expect(relinkWell("--ignore-time", root).summary.linkedNames).toBe(1);
      expect(dedupe(["relink", root]).err).toMatch(/the store was made with/);
    });
  });

  it("reads every file with --full, and gives each its name in the store", async () => {
    await withInflated(({ root }) => {
      expect(relinkWell(root).summary).toMatchObject({ aloneInodes: 0, objects: 7 });
      const { summary } = relinkWell("--full", root);
      expect(summary).toMatchObject({ readInodes: 0, objects: 0, linkedNames: 0 });
    });
  });

  it(
    "stops at the time limit, says so, and goes on without reading again",
    { timeout: 360_000 },
    async () => {
      await withInflated(({ root, original }) => {
        const stopped = relink("--time-limit", "3s", "--bwlimit", "250", root);
        expect(stopped.code).toBe(0);
        expect(stopped.summary).toMatchObject({ outcome: "stopped", timeLimit: true });
        expect(brokenNames(original, root)).toEqual([]);
        const { summary } = relinkWell(root);
        expect(stopped.summary.readInodes).toBeGreaterThan(0);
        expect(summary.readInodes + stopped.summary.readInodes).toBe(15);
        expect(summary.linkedNames).toBe(8);
        expect(healedDifferences(original, root)).toEqual([]);
      });
    },
  );

  it("lets the same name survive whatever the number of threads", async () => {
    const survivors: string[][] = [];
    for (const jobs of ["1", "4"]) {
      await withInflated(({ root }) => {
        const inodes = (): Map<string, string> =>
          new Map(
            manifest(root).flatMap(({ path, type, inode }) => (type === "file" ? [[path, inode]] : [])),
          );
        const before = inodes();
        relinkWell("-j", jobs, root);
        survivors.push(
          [...inodes()].filter(([path, inode]) => before.get(path) === inode).map(([path]) => path),
        );
      });
    }
    expect(survivors[0]).toContain("daily.2/docs/same");
    expect(survivors[1]).toEqual(survivors[0]);
  });

  it("stops at a signal, and the next run goes on", async () => {
    await withInflated(async ({ root, original }) => {
      const run = startDedupe(["relink", "--json", "--bwlimit", "500", root]);
      await new Promise((resolve) => run.process.stdout?.once("data", resolve));
      await new Promise((resolve) => setTimeout(resolve, 700));
      run.process.kill("SIGTERM");
      expect((await run.ended).code).toBe(143);
      expect(brokenNames(original, root)).toEqual([]);
      relinkWell(root);
      expect(healedDifferences(original, root)).toEqual([]);
    });
  });

  it("goes on safely while another process reads names all the time", { timeout: 300_000 }, async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (mount) => {
      const [root, original] = [join(mount, "root"), join(mount, "original")];
      mkdirSync(root);
      const files = isLong ? 2000 : 300;
      for (let day = 0; day < 3; day++)
        makeTree(
          root,
          Object.fromEntries(
            Array.from({ length: files }, (_, index) => [
              `daily.${String(day)}/d${String(index % 10)}/f${String(index)}`,
              file(`content of file ${String(index)}\n`.repeat(1 + (index % 50))),
            ]),
          ),
        );
      execFileSync("cp", ["-a", root, original]);
      const reader = await startReader(root);
      relinkWell(root);
      expect(await reader.stop()).toMatch(/^[1-9]\d* reads, 0 bad$/);
      expect(compareTrees(original, root, { mergedOk: true })).toEqual([]);
      expect(readdirSync(join(root, ".dedupe/tmp"))).toEqual([]);
    });
  });
});

/** A process that opens and reads names until it is told to stop; it says how many, and how many were wrong. */
async function startReader(root: string): Promise<{ stop(): Promise<string> }> {
  const script = join(repositoryRoot, "test/support/reader.py");
  const reader = spawn("python3", ["-B", script, root], { stdio: ["pipe", "pipe", "inherit"] });
  let out = "";
  await new Promise<void>((resolve) =>
    reader.stdout.on("data", (part: Buffer) => {
      out += part.toString();
      resolve();
    }),
  );
  const ended = new Promise((resolve) => reader.on("close", resolve));
  return {
    stop: async () => {
      reader.stdin.end();
      await ended;
      return out.split("\n")[1] ?? "";
    },
  };
}
