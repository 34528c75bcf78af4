import { mkdtempSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { leftovers, readTrace, relink } from "./faulty-run.ts";
import type { FaultAction } from "./faults/plan.ts";
import { makeFilesystem } from "./filesystem.ts";
import { makeInflatedRoot } from "./inflated-root.ts";
import { compareTrees, type Difference } from "./oracle.ts";
import { twoAtATime } from "./promises.ts";
import { healedDifferences } from "./relink.ts";
import type { Fault } from "./sweep.ts";

/** Inflated roots on one ext4, each relinked into one fault. */
export interface RelinkSweep {
  readonly calls: number;
  run(faults: readonly Fault[]): Promise<string[]>;
  close(): void;
}

export async function openRelinkSweep(jobs = 1): Promise<RelinkSweep> {
  const disk = makeFilesystem({ type: "ext4", sizeBytes: 1500 * 2 ** 20 });
  const args = ["-j", String(jobs)];
  const fresh = (): { folder: string; root: string; original: string } => {
    const folder = mkdtempSync(join(disk.mountPoint, "sweep-"));
    const [root, original] = [join(folder, "root"), join(folder, "original")];
    makeInflatedRoot(root, original);
    return { folder, root, original };
  };
  const count = async (): Promise<number> => {
    const { folder, root } = fresh();
    const file = join(folder, "trace");
    const { code, stderr } = await relink(root, { args, plan: { trace: { file } } });
    if (code !== 0) throw new Error(`a relink without a fault ended with ${String(code)}: ${stderr}`);
    const calls = readTrace(file).length;
    rmSync(folder, { recursive: true });
    return calls;
  };
  return {
    calls: await count(),
    run: async (faults) => {
      const findings: string[] = [];
      await twoAtATime(faults, async (fault) => {
        const made = fresh();
        const found = await meet(fault, { ...made, args });
        findings.push(...found.map((each) => `${fault.errno} at call ${fault.at}: ${each}`));
        rmSync(made.folder, { recursive: true });
      });
      return findings;
    },
    close: () => disk.close(),
  };
}

interface Attempt {
  readonly root: string;
  readonly original: string;
  readonly args: readonly string[];
}

async function meet({ at, errno }: Fault, { root, original, args }: Attempt): Promise<string[]> {
  const action: FaultAction =
    errno === "KILL"
      ? { type: "kill", when: at % 2 === 0 ? "before" : "after" }
      : { type: "fail", errno: constants.errno[errno] };
  const result = await relink(root, { args, plan: { rules: [{ at, action }] } });
  const findings: string[] = [];
  if (result.hung) findings.push("it hung");
  if (/bug|\n {4}at /.test(result.stderr)) findings.push(`a bug message: ${result.stderr.slice(0, 1500)}`);
  if (errno !== "KILL" && ![0, 1, 3].includes(result.code ?? -1))
    findings.push(`it ended with ${String(result.code)}`);
  findings.push(...brokenNames(original, root).map((each) => `then ${JSON.stringify(each)}`));
  const next = await relink(root, { args });
  if (next.code !== 0)
    findings.push(
      `the next run ended with ${String(next.code)}: ${next.stderr} ${JSON.stringify(next.failures)}`,
    );
  findings.push(
    ...healedDifferences(original, root)
      .filter((each) => !isTimeOfRoot(each) && !isTimeOfFailed(each, errno, result.failures))
      .map((each) => `after the next run ${JSON.stringify(each)}`),
    ...leftovers(root).map((name) => `after the next run there is still ${name}`),
  );
  return findings;
}

/** Names that do not lead to what they led to. Of a directory that a run was killed in, the time may wait for the next. */
export function brokenNames(original: string, root: string): Difference[] {
  return compareTrees(original, root, { mergedOk: true }).filter(
    ({ class: kind, path }) => kind !== "group-split" && !(kind === "mtime" && isDirectory(path)),
  );
}

/** Of the tree that makeInflatedRoot makes. */
const isDirectory = (path: string): boolean => /^(\.|daily\.\d(\/docs(\/deep)?)?)$/.test(path);

/** The root's time is off between two calls when the store is made. */
const isTimeOfRoot = ({ class: kind, path }: Difference): boolean => kind === "mtime" && path === ".";

/** Where the kernel refused to set it, that was listed. */
function isTimeOfFailed(
  { class: kind, path }: Difference,
  errno: string,
  failures: readonly { path: string }[],
): boolean {
  return kind === "mtime" && errno !== "KILL" && failures.some((failure) => failure.path === path);
}
