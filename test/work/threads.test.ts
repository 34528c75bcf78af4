import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupe, dedupeScript } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requireTool, requirement } from "../support/skip.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

/** How many threads the process has when a worker makes the first link. */
async function threadsOf(source: string, args: readonly string[]): Promise<number> {
  rmSync(target, { recursive: true });
  mkdirSync(target);
  const command = `ls /proc/$PPID/task | wc -l > ${work}/threads`;
  const rule = {
    calls: ["linkat"],
    path: "/staging/",
    action: { type: "run", when: "before", command },
  } as const;
  const { code } = await migrate(source, target, { plan: { rules: [rule] }, args });
  expect(code).toBe(0);
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  return Number(readFileSync(join(work, "threads"), "utf8"));
}

describe.skipIf(!requireFilesystem("ext4"))("threads of a migrate", () => {
  const cores = Math.min(64, availableParallelism());

  it("are one where the source's filesystem holds little, and one a core where it holds more", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 256 * 2 ** 20 }, async (mount) => {
      const source = join(mount, "source");
      makeTree(source, { "daily.0/a": file("a") });
      const alone = await threadsOf(source, ["-j1"]);
      expect(await threadsOf(source, [])).toBe(alone);
      expect(await threadsOf(source, ["-j3"])).toBe(alone + 2);
      for (let number = 0; number < 1001; number++) writeFileSync(join(mount, `beside-${number}`), "");
      expect(await threadsOf(source, [])).toBe(alone - 1 + cores);
    });
  });

  it("are one a core where there are large files, or another filesystem below", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 256 * 2 ** 20 }, async (mount) => {
      const source = join(mount, "source");
      makeTree(source, { "daily.0/a": file("a"), "daily.0/disk/b": file("b") });
      const alone = await threadsOf(source, ["-j1"]);
      const disk = join(source, "daily.0/disk");
      expect(spawnSync("mount", ["-t", "tmpfs", "tmpfs", disk]).status).toBe(0);
      expect(await threadsOf(source, [])).toBe(alone - 1 + cores);
      expect(spawnSync("umount", [disk]).status).toBe(0);
      expect(await threadsOf(source, [])).toBe(alone);
      writeFileSync(join(mount, "beside"), Buffer.alloc(65 * 2 ** 20, "x"));
      expect(await threadsOf(source, [])).toBe(alone - 1 + cores);
    });
  });
});

/** As its first event says. */
function jobsOf(...args: string[]): unknown {
  const { code, out, err } = dedupe([...args, "--json"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return (JSON.parse(out.slice(0, out.indexOf("\n"))) as { jobs?: unknown }).jobs;
}

describe.skipIf(!requireFilesystem("ext4"))("threads of the other commands", () => {
  it("are one where what is read holds little, as many as were asked for, and else one a core", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 256 * 2 ** 20 }, (mount) => {
      const root = join(mount, "root");
      makeTree(root, { "daily.0/a": file("a"), "daily.1/a": file("a") });
      const source = join(mount, "source");
      expect(spawnSync("cp", ["-a", root, source]).status).toBe(0);
      const commands = [
        ["relink", root],
        ["compact", root],
        ["stats", root],
        ["verify", root],
        ["verify", root, "--against", source],
      ];
      for (const command of commands) {
        expect({ command, jobs: jobsOf(...command) }).toEqual({ command, jobs: 1 });
        expect({ command, jobs: jobsOf(...command, "-j3") }).toEqual({ command, jobs: 3 });
      }
      for (let number = 0; number < 1001; number++) writeFileSync(join(mount, `beside-${number}`), "");
      for (const command of commands) {
        expect({ command, jobs: jobsOf(...command) }).toEqual({
          command,
          jobs: Math.min(64, availableParallelism()),
        });
      }
    });
  });
});

/** Node itself aborts or hangs, without a word of dedupe's, where it cannot start its own threads. */
const ABORTED = 134;

const able =
  requirement(process.getuid?.() === 0, "needs root") && requireTool("setpriv") && requireTool("prlimit");

describe.skipIf(!able)("a user who may have few threads", () => {
  it("is told so, at once, where one of those asked for is denied", { timeout: 480_000 }, () => {
    const source = join(work, "source");
    makeTree(source, { "daily.0/a": file("a") });
    const user = 12_345;
    chownSync(target, user, user);
    const codes: (number | null)[] = [];
    for (let threads = 9; codes.at(-1) !== 0 && threads < 40; threads++) {
      const limits = [
        `--reuid=${user}`,
        `--regid=${user}`,
        "--clear-groups",
        "prlimit",
        `--nproc=${threads}`,
      ];
      const started = performance.now();
      const { status, signal, stderr } = spawnSync(
        "setpriv",
        [...limits, process.execPath, dedupeScript, "migrate", "--no-progress", "-j", "4", source, target],
        { encoding: "utf8", timeout: 20_000 },
      );
      codes.push(signal === null ? status : ABORTED);
      if (status === 1) {
        expect(stderr).toContain("the system gives this process no further thread");
        // A thread that waits for work for ever would keep the process until it is wound down by force.
        expect(performance.now() - started).toBeLessThan(9000);
      }
      expect(stderr).not.toContain("bug");
    }
    expect(codes.filter((code) => code === 1).length).toBeGreaterThanOrEqual(2);
    expect(codes.at(-1)).toBe(0);
    expect(compareTrees(source, target, { ignore: ["owner"] })).toEqual([]);
  });
});
