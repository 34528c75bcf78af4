import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import { readTrace } from "./faulty-run.ts";
import { PLAN_VARIABLE, type FaultPlan } from "./faults/plan.ts";
import { repositoryRoot } from "./repository-root.ts";

const runner = join(repositoryRoot, "dist/faults/run.js");
const hangMs = 120_000;

/** `dedupe verify` with the plan's faults; its exit code, null when it hung. */
export async function verifyFaulty(args: readonly string[], plan: FaultPlan): Promise<number | null> {
  const env = { ...process.env, [PLAN_VARIABLE]: JSON.stringify(plan) };
  const child = spawn(process.execPath, [runner, "verify", "-q", ...args], { env, stdio: "ignore" });
  const patience = setTimeout(() => child.kill("SIGKILL"), hangMs);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearTimeout(patience);
  return code;
}

/** How many system calls a run makes. */
export async function countVerifyCalls(args: readonly string[], traceFile: string): Promise<number> {
  await verifyFaulty(args, { trace: { file: traceFile } });
  return readTrace(traceFile).length;
}

/** Exit codes of runs in which one call fails, by the call's number; two runs at a time. */
export async function sweepVerify(
  args: readonly string[],
  calls: readonly number[],
  errno: keyof typeof constants.errno = "EIO",
): Promise<Map<number, number | null>> {
  const codes = new Map<number, number | null>();
  const waiting = [...calls];
  const work = async (): Promise<void> => {
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      const action = { type: "fail", errno: constants.errno[errno] } as const;
      codes.set(at, await verifyFaulty(args, { rules: [{ at, action }] }));
    }
  };
  await Promise.all([work(), work()]);
  return codes;
}
