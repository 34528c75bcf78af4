import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate, type RunResult } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { compareTrees } from "../support/oracle.ts";
import { judgeFaulted } from "../support/promises.ts";
import { directory, file, linkTo, makeTree, readTree } from "../support/tree.ts";

const MIB = 2 ** 20;
const sizes = { small: "small\n", large: "large\n".repeat(400_000) };
type Size = keyof typeof sizes;

/** What another process does to "daily.0/busy" just before or after a call that reads it. */
interface Meddling {
  readonly name: string;
  readonly calls: readonly string[];
  readonly when: "before" | "after";
  readonly command: string;
  readonly times?: number;
  /** "taken": read again, and exact. "listed": exit 3, and nothing under the name. */
  readonly outcome: "taken" | "listed";
  readonly code?: string;
}

const meddlings: Meddling[] = [
  { name: "grows once", calls: ["pread"], when: "after", command: "echo more >> busy", outcome: "taken" },
  { name: "shrinks once", calls: ["pread"], when: "before", command: "truncate -s 3 busy", outcome: "taken" },
  {
    name: "is rewritten at its size once",
    calls: ["pread"],
    when: "after",
    command: "printf X | dd of=busy conv=notrunc",
    outcome: "taken",
  },
  {
    name: "goes on growing",
    calls: ["pread"],
    when: "after",
    command: "echo more >> busy",
    times: 1000,
    outcome: "listed",
    code: "UNSTABLE",
  },
  {
    name: "goes on being rewritten",
    calls: ["pread"],
    when: "after",
    command: "date +%N | dd of=busy conv=notrunc",
    times: 1000,
    outcome: "listed",
    code: "UNSTABLE",
  },
  {
    name: "is emptied for good",
    calls: ["pread"],
    when: "before",
    command: ": > busy",
    outcome: "listed",
    code: "UNSTABLE",
  },
  {
    name: "vanishes before it is opened",
    calls: ["openat"],
    when: "before",
    command: "rm busy",
    outcome: "listed",
    code: "ENOENT",
  },
  {
    name: "vanishes before it is looked at",
    calls: ["statx"],
    when: "before",
    command: "rm busy",
    outcome: "listed",
    code: "ENOENT",
  },
  {
    name: "is replaced by another file",
    calls: ["openat"],
    when: "before",
    command: "echo other > new; mv new busy",
    outcome: "listed",
    code: "UNSTABLE",
  },
  {
    name: "is replaced by a symlink out of the source",
    calls: ["openat"],
    when: "before",
    command: "ln -sf /etc/passwd busy",
    outcome: "listed",
    code: "ELOOP",
  },
  {
    name: "is replaced by a fifo",
    calls: ["openat"],
    when: "before",
    command: "rm busy; mkfifo busy",
    outcome: "listed",
    code: "UNSTABLE",
  },
  {
    name: "is replaced by a directory",
    calls: ["openat"],
    when: "before",
    command: "rm busy; mkdir busy",
    outcome: "listed",
    code: "UNSTABLE",
  },
];

describe.skipIf(!requireFilesystem("ext4"))(
  "a source file that changes while it is read",
  { timeout: 360_000 },
  () => {
    for (const size of Object.keys(sizes) as Size[]) {
      it.each(meddlings)(
        `(${size}) and $name: $outcome`,
        async ({ calls, when, command, times = 1, outcome, code }) => {
          await withRoots(async (source, target) => {
            makeTree(source, {
              ...Object.fromEntries(["a", "z"].map((name) => [`daily.0/${name}`, file(name)])),
              "daily.0/busy": file(sizes[size]),
              "daily.1/other": file("the rest goes on\n"),
            });
            const action = { type: "run", when, command: `cd '${source}/daily.0' && ${command}` } as const;
            const rules: FaultRule[] = [
              { calls, path: calls[0] === "pread" ? "daily.0/busy" : "busy", times, action },
            ];
            const result = await migrate(source, target, { args: ["-j", "1"], plan: { rules } });
            expect(result.hung).toBe(false);
            if (outcome === "taken") {
              expect(result.code).toBe(0);
              expect(compareTrees(source, target)).toEqual([]);
              return;
            }
            expect(result.failures).toMatchObject([{ path: "daily.0/busy", code }]);
            expect(result.code).toBe(3);
            expect(existsSync(join(target, "daily.0/busy"))).toBe(false);
            for (const name of ["daily.0/a", "daily.0/z", "daily.1/other"])
              expect(existsSync(join(target, name))).toBe(true);
            const next = await migrate(source, target);
            expect(next.code).toBe(0);
            expect(compareTrees(source, target)).toEqual([]);
          });
        },
      );
    }

    it.each([
      { half: "daily.0/busy", path: "/busy", call: "openat", left: ["dir", "fine"] },
      { half: "daily.0/dir/inner", path: "/dir", call: "getdents64", left: ["busy", "dir", "fine"] },
    ])(
      "whose copy ($half) a killed run left half made loses it when $call fails",
      async ({ half, path, call, left }) => {
        await withRoots(async (source, target) => {
          const content = file(sizes.large);
          makeTree(source, {
            "daily.0/busy": content,
            "daily.0/dir/inner": file(`${sizes.large}.`),
            "daily.0/fine": file("fine"),
          });
          const action = { type: "kill", when: "after" } as const;
          const kill: FaultRule = {
            calls: ["pwrite"],
            path: half.slice(half.lastIndexOf("/")),
            at: 2,
            action,
          };
          expect((await migrate(source, target, { args: ["-j", "1"], plan: { rules: [kill] } })).code).toBe(
            null,
          );
          const fail = { type: "fail", errno: constants.errno.EIO } as const;
          const rule: FaultRule = {
            path: call === "openat" ? path.slice(1) : `${source}/daily.0${path}`,
            times: 1e6,
            calls: [call],
            action: fail,
          };
          const result = await migrate(source, target, { args: ["-j", "1"], plan: { rules: [rule] } });
          expect(judgeFaulted(result, { source, target })).toEqual([]);
          expect(result.code).toBe(3);
          expect(readdirSync(join(target, "daily.0")).sort()).toEqual(left);
          expect(readdirSync(join(target, "daily.0/dir"))).toEqual(call === "openat" ? ["inner"] : []);
          expect((await migrate(source, target)).code).toBe(0);
          expect(compareTrees(source, target)).toEqual([]);
        });
      },
    );

    it("after another name of it met the link limit is read again by the next run", async () => {
      await withRoots(async (source, target) => {
        const names = ["name.1", "name.2", "name.3", "name.4"].map((name) => `daily.0/${name}`);
        const [first = "", ...others] = names;
        makeTree(source, {
          [first]: file("old"),
          ...Object.fromEntries(others.map((name) => [name, linkTo(first)])),
        });
        const command = `printf new | dd of='${source}/${first}' conv=notrunc`;
        const third = { calls: ["linkat"], path: "name.", at: 3 };
        const rules: FaultRule[] = [
          { ...third, action: { type: "run", when: "before", command } },
          { ...third, action: { type: "fail", errno: constants.errno.EMLINK } },
        ];
        // -v: no name is linked straight from the listing, which would try twice.
        const args = ["-j1", "-v", "--ignore-time"];
        const run = await migrate(source, target, { args, plan: { rules } });
        expect(run).toMatchObject({ code: 0, summary: { siblings: 3 } });
        expect((await migrate(source, target, { args })).code).toBe(0);
        for (const name of names) expect(readFileSync(join(target, name), "utf8")).toBe("new");
      });
    });

    it("written to by a busy process is taken as it was at some moment, or listed", async () => {
      await withRoots(async (source, target) => {
        const names = Array.from({ length: 40 }, (_, index) => `log.${index}`);
        mkdirSync(join(source, "daily.0"), { recursive: true });
        names.forEach((name) => writeFileSync(join(source, "daily.0", name), "0\n".repeat(2000)));
        makeTree(join(source, "daily.1"), { still: file("still\n"), ".": directory() });
        const writer = spawn("sh", [
          "-c",
          `cd '${source}/daily.0'; while :; do for f in log.*; do echo 1 >> $f; done; done`,
        ]);
        let result: RunResult;
        try {
          result = await migrate(source, target);
        } finally {
          writer.kill("SIGKILL");
        }
        await new Promise((resolve) => writer.on("close", resolve));
        expect(result.hung).toBe(false);
        expect([0, 3]).toContain(result.code);
        const listed = new Set(result.failures.map(({ path }) => path));
        for (const name of names) {
          const path = join(target, "daily.0", name);
          expect(existsSync(path)).toBe(!listed.has(`daily.0/${name}`));
          if (existsSync(path))
            expect(
              readFileSync(join(source, "daily.0", name), "utf8").startsWith(readFileSync(path, "utf8")),
            ).toBe(true);
        }
        expect(readTree(join(target, "daily.1"))).toEqual({ still: file("still\n") });
        appendFileSync(join(source, "daily.0/log.0"), "the end\n");
        expect((await migrate(source, target)).code).toBe(0);
        expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
      });
    });
  },
);

describe.skipIf(!requireFilesystem("ext3-128"))("a source of whole seconds", { timeout: 360_000 }, () => {
  it("whose file is rewritten twice within one, before and while it is read, is read again by the next run", async () => {
    await withRoots(async (source, target) => {
      const path = join(source, "daily.0/busy");
      makeTree(source, { "daily.0/busy": file("A".repeat(3 * MIB)) });
      const fill = (letter: string): string =>
        `head -c ${String(3 * MIB)} /dev/zero | tr '\\0' ${letter} | dd of='${path}' bs=1M conv=notrunc`;
      const restOfSecond = "sleep $(printf 0.%09d $((2000000000 - 1$(date +%N))))";
      const rules: FaultRule[] = [
        {
          ...{ calls: ["openat"], path: "busy" },
          action: { type: "run", when: "before", command: `${restOfSecond}; ${fill("B")}` },
        },
        {
          ...{ calls: ["pread"], path: "daily.0/busy" },
          action: { type: "run", when: "after", command: `${fill("C")}; sleep 2.2` },
        },
      ];
      expect((await migrate(source, target, { args: ["-j1"], plan: { rules } })).code).toBe(0);
      expect((await migrate(source, target)).code).toBe(0);
      expect(compareTrees(source, target)).toEqual([]);
    }, "ext3-128");
  });
});

async function withRoots(
  task: (source: string, target: string) => Promise<void>,
  sourceType: "ext4" | "ext3-128" = "ext4",
): Promise<void> {
  await withFilesystem({ type: sourceType, sizeBytes: 600 * MIB }, async (sources) => {
    await withFilesystem({ type: "ext4", sizeBytes: 600 * MIB }, async (targets) => {
      const target = join(targets, "target");
      mkdirSync(target);
      await task(join(sources, "root"), target);
    });
  });
}
