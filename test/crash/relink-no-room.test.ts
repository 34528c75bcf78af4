import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readTrace, relink, type RunResult } from "../support/faulty-run.ts";
import { fill } from "../support/fill.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { relinkWell } from "../support/relink.ts";

const MIB = 2 ** 20;
const name = "daily.1/deep/b";

type Ended = { result: RunResult; root: string; beside: () => string[] };

/** Someone writes to the name just before it is replaced, and there is no room to put it back for so many tries. */
async function refused(names: string, tries: number, look: (ended: Ended) => void): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
    const root = join(mount, "root");
    mkdirSync(root);
    writeFileSync(join(root, "large"), Buffer.alloc(8 * MIB, "large"));
    execFileSync(
      "sh",
      [
        "-ec",
        `mkdir -p daily.0/deep daily.1/deep; cp -a large daily.0; mv large daily.1
         printf old > daily.0/deep/s; for name in t u v w; do ln daily.0/deep/s daily.0/deep/$name; done
         printf old > ${name}; touch -d @1600000000 ${name} daily.0/deep/s; ${names}
         find . -depth -type d -exec touch -d @1600000000 {} +`,
      ],
      { cwd: root },
    );
    fill(join(mount, "ballast"));
    const on = { calls: ["renameat2"], path: "daily.1/deep" };
    const rules = [
      { ...on, action: { type: "run", when: "before", command: `printf NEW >> ${root}/${name}` } },
      { ...on, at: 2, times: tries, action: { type: "fail", errno: constants.errno.ENOSPC } },
    ] as const;
    const result = await relink(root, { args: ["-j", "1"], plan: { rules } });
    const beside = (): string[] => readdirSync(root).filter((each) => each.startsWith(".dedupe-relink"));
    look({ result, root, beside });
  });
}

describe.skipIf(!requireFilesystem("ext4"))("what finds no room to be put back on a full disk", () => {
  it.each([
    ["one name", "true"],
    ["two names", `ln ${name} daily.1/a`],
  ])("is put back once there is room (%s)", async (_, names) => {
    await refused(names, 2, ({ result, root, beside }) => {
      expect(readFileSync(join(root, name), "utf8")).toBe("oldNEW");
      expect(beside()).toEqual([]);
      expect(result.code).toBe(3);
      expect(result.failures).toMatchObject([{ path: name, code: "ENOSPC" }]);
      for (const each of ["", "daily.1/deep"]) expect(statSync(join(root, each)).mtimeMs).toBe(1.6e12);
      expect(readFileSync(join(root, "daily.0/deep/s"), "utf8")).toBe("old");
    });
  });

  it("stays beside its place otherwise, which is said, and gets it back by the next run", async () => {
    await refused(`ln ${name} daily.1/a`, 1000, ({ result, root, beside }) => {
      expect(beside()).toHaveLength(1);
      expect(result.code).toBe(3);
      expect(result.failures).toMatchObject([{ path: name, code: "ENOSPC" }]);
      expect(result.failures[0]?.message).toContain(beside()[0]);
      expect(result.stdout).toMatch(new RegExp(`"LEFTOVER".*${beside()[0]}`));
      relinkWell(root);
      expect(readFileSync(join(root, name), "utf8")).toBe("oldNEW");
      expect(beside()).toEqual([]);
    });
  });
});

it.skipIf(!requireFilesystem("ext4"))(
  "names that wait for the store, as the root has no room for a temporary one, cost no sync each",
  async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
      const root = join(mount, "root");
      mkdirSync(join(root, "daily.0"), { recursive: true });
      writeFileSync(join(root, "daily.0/large"), Buffer.alloc(8 * MIB, "large"));
      const files = Array.from({ length: 20 }, (_, index) => String(index));
      for (const each of files) writeFileSync(join(root, "daily.0", each), each);
      execFileSync(
        "sh",
        [
          "-ec",
          `cp -a daily.0 daily.1; rm daily.0/large; cp -al daily.0 daily.2; cp -al daily.0 daily.3
           mv daily.1/large .; cp -a large larger; cp -al daily.1 daily.6`,
        ],
        { cwd: root },
      );
      fill(join(mount, "ballast"));
      const action = { type: "fail", errno: constants.errno.ENOSPC } as const;
      const rules = [{ calls: ["linkat"], path: ".dedupe-relink.", times: 1000, action }];
      const file = join(mount, "../trace");
      const trace = { file, calls: ["syncfs", "linkat"] };
      const { code } = await relink(root, { args: ["-j", "1"], plan: { rules, trace } });
      expect(code).toBe(0);
      const calls = readTrace(file);
      const refused = calls.filter(({ result }) => result === -constants.errno.ENOSPC);
      expect(refused.length).toBeGreaterThanOrEqual(files.length);
      expect(calls.filter(({ call }) => call === "syncfs").length).toBeLessThan(files.length / 2);
    });
  },
);
