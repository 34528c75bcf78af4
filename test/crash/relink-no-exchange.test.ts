import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { leftovers, relink, type RunResult } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeInflatedRoot } from "../support/inflated-root.ts";
import { healedDifferences } from "../support/relink.ts";
import { brokenNames } from "../support/relink-sweep.ts";

vi.setConfig({ testTimeout: 240_000 });

const EINVAL = { type: "fail", errno: constants.errno.EINVAL } as const;
/* The probe, and the first exchange with a name of the tree. */
const refusals: readonly FaultRule[] = [
  { calls: ["renameat2"], path: "exchange-probe", action: EINVAL },
  { calls: ["renameat2"], path: "/root/daily.", action: EINVAL },
];

async function refused(
  rules: (root: string) => readonly FaultRule[],
  look: (made: { result: RunResult; root: string; original: string }) => void | Promise<void>,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 512 * 2 ** 20 }, async (mount) => {
    const folder = mkdtempSync(join(mount, "case-"));
    const [root, original] = [join(folder, "root"), join(folder, "original")];
    makeInflatedRoot(root, original);
    const plan = { rules: [...refusals, ...rules(root)] };
    const result = await relink(root, { args: ["-j", "1"], plan });
    await look({ result, root, original });
    rmSync(folder, { recursive: true });
  });
}

describe.skipIf(!requireFilesystem("ext4"))("a filesystem that cannot exchange names", () => {
  it("is healed by renaming over, and that is said", async () => {
    await refused(
      () => [],
      ({ result, root, original }) => {
        expect(result.code).toBe(0);
        expect(result.stdout).toMatch(/"code":"NO_EXCHANGE"/);
        expect(healedDifferences(original, root)).toEqual([]);
        expect(leftovers(root)).toEqual([]);
      },
    );
  });

  it("loses nothing that someone writes into a file just before", async () => {
    const name = "daily.1/docs/deep/same";
    await refused(
      (root) => [
        {
          calls: ["linkat"],
          path: "/root/daily.1/docs/deep",
          at: 1,
          action: { type: "run", when: "before", command: `printf more >> ${root}/${name}` },
        },
      ],
      ({ result, root, original }) => {
        expect(readFileSync(join(root, name), "utf8")).toBe("also the same\nmore");
        expect(result.failures).toMatchObject([{ path: name, code: "CHANGED" }]);
        expect(brokenNames(original, root).filter(({ path }) => path !== name)).toEqual([]);
        expect(leftovers(root)).toEqual([]);
      },
    );
  });

  it.each([
    [2, "before"],
    [3, "after"],
  ] as const)("is healed by the next run after a kill %d renames on (%s)", async (at, when) => {
    await refused(
      () => [{ calls: ["renameat2"], path: "/root/daily.", at, action: { type: "kill", when } }],
      async ({ result, root, original }) => {
        expect(result.code).toBe(null);
        expect(brokenNames(original, root)).toEqual([]);
        expect((await relink(root)).code).toBe(0);
        expect(healedDifferences(original, root).filter(({ path }) => path !== ".")).toEqual([]);
        expect(leftovers(root)).toEqual([]);
      },
    );
  });
});
