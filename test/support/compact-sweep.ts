import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { mismatches } from "./compact.ts";
import { migrate } from "./dedupe.ts";
import { compact, readTrace } from "./faulty-run.ts";
import type { FaultAction } from "./faults/plan.ts";
import { makeFilesystem } from "./filesystem.ts";
import { compareTrees, type Difference } from "./oracle.ts";
import { makeSmallRoot } from "./small-root.ts";
import type { Fault } from "./sweep.ts";

/** Stores with something to do for every step, each compacted into one fault and then to the end. */
export interface CompactSweep {
  readonly calls: number;
  run(faults: readonly Fault[]): Promise<string[]>;
  close(): void;
}

const args = ["-j", "1", "--priority", "normal"];

export async function openCompactSweep(): Promise<CompactSweep> {
  const disk = makeFilesystem({ type: "ext4", sizeBytes: 800 * 2 ** 20 });
  const fresh = (): { folder: string; target: string; as: string } => {
    const folder = mkdtempSync(join(disk.mountPoint, "sweep-"));
    const [target, as] = [join(folder, "target"), join(folder, "as")];
    makeNeglected(folder, target);
    // What the names lead to, in inodes of their own.
    // Not rsync: it leaves a directory's time as it is where that is in the same second.
    execFileSync("cp", ["-a", target, as]);
    rmSync(join(as, ".dedupe"), { recursive: true });
    execFileSync("touch", ["-r", target, as]);
    return { folder, target, as };
  };
  const count = async (): Promise<number> => {
    const { folder, target } = fresh();
    const file = join(folder, "trace");
    const { code, stderr } = await compact(target, { args, plan: { trace: { file } } });
    if (code !== 4) throw new Error(`a compact without a fault ended with ${String(code)}: ${stderr}`);
    const calls = readTrace(file).length;
    rmSync(folder, { recursive: true });
    return calls;
  };
  return {
    calls: await count(),
    run: async (faults) => {
      const findings: string[] = [];
      for (const fault of faults) {
        const made = fresh();
        const found = await meet(fault, made);
        findings.push(...found.map((each) => `${fault.errno} at call ${fault.at}: ${each}`));
        rmSync(made.folder, { recursive: true });
      }
      return findings;
    },
    close: () => disk.close(),
  };
}

/** A store that nobody has cared for: every step has something to do. */
function makeNeglected(folder: string, target: string): void {
  const source = join(folder, "source");
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  const { code, err } = migrate(source, target);
  if (code !== 0) throw new Error(err);
  rmSync(source, { recursive: true });
  const at = (name: string): string => join(target, name);
  rmSync(at("daily.1/docs/edited"));
  chmodSync(at("daily.0/docs/deep/er/leaf"), 0o640);
  appendFileSync(at("daily.0/docs/kept"), "written in place\n");
  execFileSync("cp", ["-p", at("daily.0/large"), at("daily.0/equal")]);
  writeFileSync(at("daily.0/new"), "new\n");
  linkSync(at("daily.0/new"), at("daily.0/new too"));
  linkSync(at("daily.0/twin"), at(".dedupe/tmp/relink.7"));
  mkdirSync(at(".dedupe/staging/u3"));
}

async function meet({ at, errno }: Fault, { target, as }: { target: string; as: string }): Promise<string[]> {
  const action: FaultAction =
    errno === "KILL"
      ? { type: "kill", when: at % 2 === 0 ? "before" : "after" }
      : { type: "fail", errno: constants.errno[errno] };
  const result = await compact(target, { args, plan: { rules: [{ at, action }] } });
  const findings: string[] = [];
  if (result.hung) findings.push("it hung");
  if (/bug|\n {4}at /.test(result.stderr)) findings.push(`a bug message: ${result.stderr.slice(0, 1500)}`);
  if (errno !== "KILL" && ![1, 3, 4].includes(result.code ?? -1))
    findings.push(`it ended with ${String(result.code)}`);
  findings.push(...changes(as, target, "may wait").map((each) => `then ${JSON.stringify(each)}`));
  const next = await compact(target, { args });
  const hasTold = [result, next].some(({ stdout }) => stdout.includes('"path":"daily.1/docs/kept"'));
  if (!hasTold) findings.push("the edit was not told");
  if (![0, 4].includes(next.code ?? -1))
    findings.push(
      `the next run ended with ${String(next.code)}: ${next.stderr} ${JSON.stringify(next.failures)}`,
    );
  findings.push(
    ...changes(as, target, "count")
      .filter((each) => !isTimeOfFailed(each, errno, result.failures))
      .map((each) => `after the next run ${JSON.stringify(each)}`),
    ...mismatches(target).map((each) => `after the next run ${each}`),
  );
  return findings;
}

/** Names that do not lead to what they led to. Of a directory that a run was killed in, the time may wait for the next. */
function changes(as: string, target: string, timesOfDirectories: "count" | "may wait"): Difference[] {
  return compareTrees(as, target, { mergedOk: true }).filter(
    ({ class: kind, path }) => timesOfDirectories === "count" || !(kind === "mtime" && isDirectory(path)),
  );
}

const isDirectory = (path: string): boolean => /^(\.|daily\.\d(\/docs(\/deep(\/er)?)?)?)$/.test(path);

/** Where the kernel refused to set it, that was listed. */
function isTimeOfFailed(
  { class: kind, path }: Difference,
  errno: string,
  failures: readonly { path: string }[],
): boolean {
  return kind === "mtime" && errno !== "KILL" && failures.some((failure) => failure.path === path);
}
