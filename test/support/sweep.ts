import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { actionOf, type Fault, type FaultSweep } from "./fault-sweep.ts";
import { migrate, readTrace } from "./faulty-run.ts";
import { makeFilesystem } from "./filesystem.ts";
import { afterStop, finishes, judgeFaulted, twoAtATime, type Attempt } from "./promises.ts";
import { manifest } from "./oracle.ts";
import { makeSmallRoot } from "./small-root.ts";

const MIB = 2 ** 20;
const TOLD_EVERY = 250;

/** A small root on one ext4, room for targets on another. */
export interface Sweep extends FaultSweep {
  /** What a sweep has done to the source; nothing. */
  sourceChanges(): string[];
}

/** "first": into an empty target. "update": into one that an earlier run filled from the root of two days before. */
export async function openSweep(kind: "first" | "update", jobs = 1): Promise<Sweep> {
  const sources = makeFilesystem({ type: "ext4", sizeBytes: 600 * MIB });
  const targets = makeFilesystem({ type: "ext4", sizeBytes: 1500 * MIB });
  const [monday, wednesday] = ["monday", "wednesday"].map((day) => join(sources.mountPoint, day)) as [
    string,
    string,
  ];
  makeSmallRoot(monday, "monday");
  makeSmallRoot(wednesday, "wednesday");
  const source = kind === "first" ? monday : wednesday;
  const args = ["-j", String(jobs), ...(kind === "first" ? [] : ["--delete"])];
  const fresh = async (): Promise<Attempt> => {
    const target = mkdtempSync(join(targets.mountPoint, "target-"));
    if (kind === "update") await mustEnd(monday, target);
    return { source, target, args, ...(kind === "update" ? { old: monday } : {}) };
  };
  const before = stateOf(source);
  return {
    calls: await countCalls(await fresh(), targets.mountPoint),
    run: async (faults) => {
      const findings: string[] = [];
      const tell = tellSweep(`${kind} run, ${jobs} threads`, faults.length);
      await twoAtATime(faults, async (fault) => {
        const made = await fresh();
        // A kernel that says of a name that it is gone is believed: --delete takes it away.
        const isDenied = fault.errno === "ENOENT";
        const attempt = isDenied ? { ...made, args: made.args!.filter((arg) => arg !== "--delete") } : made;
        const found = await meet(fault, attempt);
        findings.push(...tell(found.map((each) => `${fault.errno} at call ${fault.at}: ${each}`)));
        rmSync(attempt.target, { recursive: true, force: true });
      });
      return findings;
    },
    sourceChanges: () => {
      const after = stateOf(source);
      return [...before].filter(([path, state]) => after.get(path) !== state).map(([path]) => path);
    },
    close: () => {
      sources.close();
      targets.close();
    },
  };
}

/** A long sweep that is cut short has told by then what it found, and how far it came. */
function tellSweep(title: string, total: number): (found: readonly string[]) => readonly string[] {
  let met = 0;
  return (found) => {
    met++;
    for (const each of found) console.info(`${title}: ${each}`);
    if (met % TOLD_EVERY === 0) console.info(`${title}: ${met} of ${total} faults met`);
    return found;
  };
}

async function mustEnd(source: string, target: string): Promise<void> {
  const { code, stdout, stderr } = await migrate(source, target, { args: ["-j", "1"] });
  if (code !== 0) throw new Error(`a run without a fault ended with ${code}: ${stdout}${stderr}`);
}

async function countCalls({ source, target, args = [] }: Attempt, folder: string): Promise<number> {
  const file = join(folder, "trace");
  await migrate(source, target, { args, plan: { trace: { file } } });
  return readTrace(file).length;
}

async function meet(fault: Fault, attempt: Attempt): Promise<string[]> {
  const { at, errno } = fault;
  const result = await migrate(attempt.source, attempt.target, {
    args: attempt.args ?? [],
    plan: { rules: [{ at, action: actionOf(fault) }] },
  });
  const findings: string[] = [];
  // What this user may not read is left out; what the target refused to hold on trial, the counters say.
  if (errno === "EPERM" || (result.summary?.lostXattrs ?? 0) > 0)
    attempt = { ...attempt, limits: { mergedOk: true, ignore: ["xattr"] } };
  if (errno !== "KILL") findings.push(...judgeFaulted(result, attempt));
  else
    findings.push(...afterStop(attempt).map((each) => `not whole after the kill: ${JSON.stringify(each)}`));
  return [...findings, ...(await finishes(attempt))];
}

/** All but atimes, which the oracle itself moves. */
function stateOf(root: string): Map<string, string> {
  return new Map(manifest(root).map(({ atimeNs: _atime, ...entry }) => [entry.path, JSON.stringify(entry)]));
}
