import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { access } from "../support/acl.ts";
import { migrate, type RunOptions } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, fifo, file, makeTree, symlink } from "../support/tree.ts";

useFolders();

const LARGE_BYTES = 12 << 20;
const folder = "daily.0/one";
const inherited = { "system.posix_acl_default": access(4, 5)["system.posix_acl_access"]! };
const path = (number: number) => `${folder}/${String(number).padStart(4, "0")}`;
function makeSmall(): void {
  const kinds = [(number: number) => file(String(number)), () => symlink("there"), () => fifo()];
  makeTree(source, {
    [folder]: directory({ xattrs: inherited }),
    ...Object.fromEntries(
      Array.from({ length: 600 }, (_, number) => [path(number), kinds[number % kinds.length]!(number)]),
    ),
  });
}

function makeLarge(): void {
  makeTree(source, { [folder]: directory({ xattrs: inherited }) });
  for (let number = 0; number < 4; number++)
    writeFileSync(join(source, path(number)), randomBytes(LARGE_BYTES));
}

const run = (options: RunOptions) => migrate(source, target, { ...options, args: ["-j2"] });
const differences = () => compareTrees(source, target, { mergedOk: true }).slice(0, 5);

/** The first two and the last of the files, in the order in which one thread alone would take them. */
function inInodeOrder(): [string, string, string] {
  const files = readdirSync(join(source, folder))
    .map((name) => ({ name: `${folder}/${name}`, stat: lstatSync(join(source, folder, name)) }))
    .filter(({ stat }) => stat.isFile())
    .sort((a, b) => a.stat.ino - b.stat.ino)
    .map(({ name }) => name);
  return [files[0]!, files[1]!, files.at(-1)!];
}

/** Shell: waits for a command to succeed, half a minute at the most. */
const untilTrue = (command: string) => `n=0; until ${command} || [ $((n += 1)) -gt 300 ]; do sleep 0.1; done`;

const mishaps: readonly (Pick<FaultRule, "calls" | "at" | "action"> & { readonly code: number | null })[] = [
  { calls: ["linkat"], at: 3, action: { type: "kill", when: "after" }, code: null },
  { calls: ["pread"], at: 2, action: { type: "fail", errno: constants.errno.EIO }, code: 3 },
  { calls: ["linkat"], at: 2, action: { type: "fail", errno: constants.errno.ENODEV }, code: 1 },
  { calls: ["dup"], at: 1, action: { type: "fail", errno: constants.errno.EMFILE }, code: 0 },
];

describe.skipIf(!requireFilesystem("ext4")).each([
  ["small files", makeSmall],
  ["large files", makeLarge],
] as const)("one directory full of %s", (_, make) => {
  it("is made by two threads, and exact", { timeout: 240_000 }, async () => {
    make();
    const [first, second, last] = inInodeOrder();
    // While one thread waits in the directory the other one comes to its end, though it may have been busy at first.
    const there = `find ${target} -name ${basename(last)} | grep -q .`;
    const waits = [
      [first, "sleep 1"],
      [second, `${untilTrue(there)}; ${there} && touch ${work}/met`],
    ] as const;
    const rules = waits.map(([path, command]) => {
      return { calls: ["flistxattr"], path, action: { type: "run", when: "before", command } } as const;
    });
    const { code, failures } = await run({ plan: { rules } });
    expect({ code, failures }).toEqual({ code: 0, failures: [] });
    expect(differences()).toEqual([]);
    expect(existsSync(join(work, "met"))).toBe(true);
  });

  it("is whole in the end when one of them meets an error or dies", { timeout: 360_000 }, async () => {
    make();
    for (const { code, ...mishap } of mishaps) {
      rmSync(target, { recursive: true });
      makeTree(target, {});
      const met = await run({ plan: { rules: [{ ...mishap, path: "/one" }] } });
      expect({ mishap, code: met.code, hung: met.hung }).toEqual({ mishap, code, hung: false });
      const next = await run({});
      expect({ mishap, code: next.code }).toEqual({ mishap, code: 0 });
      expect(differences()).toEqual([]);
    }
  });
});
