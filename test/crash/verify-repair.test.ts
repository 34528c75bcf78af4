import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { readTrace, verify } from "../support/faulty-run.ts";
import type { FaultAction } from "../support/faults/plan.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { twoAtATime } from "../support/promises.ts";
import { flip } from "../support/store-objects.ts";
import { directory, file, linkTo, makeTree } from "../support/tree.ts";
import { verifyFaulty } from "../support/verify-faults.ts";
import { isLong } from "../support/long.ts";

/* Of the calls that write; long, all of them. */
const kills = isLong ? Infinity : 6;
const errnos = isLong ? (["EIO", "ENOSPC", "EPERM", "ENOENT", "EMLINK"] as const) : (["EPERM"] as const);
const failures = isLong ? Infinity : 3;

const writing = [
  ...["linkat", "renameat2", "unlinkat", "pwrite", "write", "fchownat", "fchmod", "futimens", "fsetxattr"],
  ...["ftruncate", "syncfs", "syncfsAsync"],
];

describe.skipIf(!requireFilesystem("ext4"))("a repair", () => {
  let workplace: Workplace;
  let [source, damaged] = ["", ""];
  let calls = 0;

  beforeAll(async () => {
    workplace = makeWorkplace();
    [source, damaged] = [join(workplace.path, "source"), join(workplace.path, "damaged")];
    makeTree(source, {
      "daily.0": directory({ mtimeNs: 1_600_000_000_000_000_001n }),
      "daily.0/in": directory({ mtimeNs: 1_600_000_000_000_000_002n }),
      "daily.0/in/a": file("a text that two inodes have\n", { xattrs: { "user.a": "1" } }),
      "daily.0/in/b": file("another text that two inodes have\n", { mode: 0o4755, uid: 3 }),
      "daily.1": directory({ mtimeNs: 1_600_000_000_000_000_003n }),
      "daily.1/a": linkTo("daily.0/in/a"),
      "daily.1/a2": linkTo("daily.0/in/a"),
      "daily.1/b": linkTo("daily.0/in/b"),
      "daily.1/c": file("a text that two inodes have\n"),
      "daily.1/d": file("another text that two inodes have\n"),
    });
    mkdirSync(damaged);
    migrateWell(source, damaged);
    for (const name of ["a", "b"]) flip(join(damaged, "daily.0/in", name), 7);
    const [target, trace] = [fresh(), join(workplace.path, "trace")];
    const plan = { trace: { file: trace, calls: writing } };
    expect(await verifyFaulty(["--repair", "-j", "1", target], plan)).toBe(0);
    calls = readTrace(trace).length;
    rmSync(target, { recursive: true });
  });
  afterAll(() => workplace.close());

  it("says that names cannot be exchanged, where that is so, and renames over them", async () => {
    const target = fresh();
    const EINVAL = { type: "fail", errno: constants.errno.EINVAL } as const;
    const rules = ["exchange-probe", "/.dedupe/objects", `${target}/daily.`].map((path) => ({
      ...{ calls: ["renameat2"], path, at: 1, action: EINVAL },
    }));
    const run = await verify(target, { args: ["--repair", "-j", "1"], plan: { rules } });
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/"code":"NO_EXCHANGE"/);
    expect(compareTrees(source, target)).toEqual([]);
  });

  function fresh(): string {
    const target = mkdtempSync(join(workplace.path, "target-"));
    execFileSync("cp", ["-a", `${damaged}/.`, target]);
    return target;
  }

  /** What is not as promised: after the fault, and after the next run. */
  async function meet(at: number, action: FaultAction): Promise<string[]> {
    const target = fresh();
    const code = await verifyFaulty(["--repair", "-j", "1", target], {
      rules: [{ at, calls: writing, action }],
    });
    const found: string[] = [];
    const expected = action.type === "fail" ? [0, 1, 3, 4] : [0, null];
    if (!expected.includes(code)) found.push(`it ended with ${String(code)}`);
    // Names lead to what they led to, or to what is right; a directory's time may wait for the next run.
    found.push(
      ...compareTrees(source, target)
        .filter(({ class: kind, path }) => !mayWait(kind, path))
        .map((each) => JSON.stringify(each)),
    );
    const next = await verifyFaulty(["--repair", target], {});
    if (next !== 0) found.push(`the next run ended with ${String(next)}`);
    found.push(...compareTrees(source, target).map((each) => `after the next run ${JSON.stringify(each)}`));
    found.push(...readdirSync(join(target, ".dedupe/tmp")).map((name) => `${name} is left`));
    rmSync(target, { recursive: true });
    return found.map((each) => `${JSON.stringify(action)} at ${at}: ${each}`);
  }

  const mayWait = (kind: string, path: string): boolean =>
    ["content", "group-split"].includes(kind) || (kind === "mtime" && /^daily\.\d(\/in)?$/.test(path));

  const every = (most: number): number[] => {
    const stride = Math.max(1, Math.ceil(calls / most));
    return Array.from({ length: Math.ceil(calls / stride) }, (_, index) => 1 + index * stride);
  };

  it(
    "killed at call N leaves every name readable, and the next one finishes, with the directories' times as they were",
    { timeout: 3_600_000 },
    async () => {
      expect(calls).toBeGreaterThan(30);
      const found: string[] = [];
      await twoAtATime(every(kills), async (at) => {
        found.push(...(await meet(at, { type: "kill", when: at % 2 === 0 ? "before" : "after" })));
      });
      expect(found).toEqual([]);
    },
  );

  it.each(errnos)(
    "whose call N fails with %s loses nothing, and the next one finishes",
    { timeout: 3_600_000 },
    async (errno) => {
      const found: string[] = [];
      await twoAtATime(every(failures), async (at) => {
        found.push(...(await meet(at, { type: "fail", errno: constants.errno[errno] })));
      });
      expect(found).toEqual([]);
    },
  );
});
