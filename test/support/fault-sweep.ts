import { mkdtempSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { readTrace, type RunResult } from "./faulty-run.ts";
import type { FaultAction, FaultPlan } from "./faults/plan.ts";
import { makeFilesystem } from "./filesystem.ts";
import type { Difference } from "./oracle.ts";
import { twoAtATime } from "./promises.ts";

/** One fault, met in a run of its own on a tree of its own. */
export type Fault = { readonly at: number; readonly errno: keyof typeof constants.errno | "KILL" };

/** Trees on one ext4, each met by a program that runs into one fault, and then to the end. */
export interface FaultSweep {
  /** System calls of a run without a fault. */
  readonly calls: number;
  /** What was not as promised, one line each. */
  run(faults: readonly Fault[]): Promise<string[]>;
  close(): void;
}

export interface Swept<Made> {
  readonly sizeBytes: number;
  /** In an empty folder. */
  make(folder: string): Made;
  run(made: Made, plan: FaultPlan): Promise<RunResult>;
  /** Exit codes of a run without a fault, and of one that met an error. */
  readonly codes: { readonly whole: number; readonly faulted: readonly number[] };
  /** What is not as promised after the run that met the fault; finishes it. */
  judge(made: Made, fault: Fault, result: RunResult): Promise<string[]>;
}

export async function openFaultSweep<Made>(swept: Swept<Made>): Promise<FaultSweep> {
  const disk = makeFilesystem({ type: "ext4", sizeBytes: swept.sizeBytes });
  const withTree = async <T>(task: (made: Made, folder: string) => Promise<T>): Promise<T> => {
    const folder = mkdtempSync(join(disk.mountPoint, "sweep-"));
    const answer = await task(swept.make(folder), folder);
    rmSync(folder, { recursive: true });
    return answer;
  };
  return {
    calls: await withTree(async (made, folder) => {
      const file = join(folder, "trace");
      const { code, stderr } = await swept.run(made, { trace: { file } });
      if (code !== swept.codes.whole)
        throw new Error(`a run without a fault ended with ${String(code)}: ${stderr}`);
      return readTrace(file).length;
    }),
    run: async (faults) => {
      const findings: string[] = [];
      await twoAtATime(faults, async (fault) => {
        const found = await withTree(async (made) => {
          const result = await swept.run(made, { rules: [{ at: fault.at, action: actionOf(fault) }] });
          return [
            ...misconduct(result, fault, swept.codes.faulted),
            ...(await swept.judge(made, fault, result)),
          ];
        });
        findings.push(...found.map((each) => `${fault.errno} at call ${fault.at}: ${each}`));
      });
      return findings;
    },
    close: () => disk.close(),
  };
}

/** Kills before every second call, and after the others. */
export function actionOf({ at, errno }: Fault): FaultAction {
  return errno === "KILL"
    ? { type: "kill", when: at % 2 === 0 ? "before" : "after" }
    : { type: "fail", errno: constants.errno[errno] };
}

function misconduct({ hung, stderr, code }: RunResult, { errno }: Fault, codes: readonly number[]): string[] {
  return [
    ...(hung ? ["it hung"] : []),
    ...(/bug|\n {4}at /.test(stderr) ? [`a bug message: ${stderr.slice(0, 1500)}`] : []),
    ...(errno === "KILL" || codes.includes(code ?? -1) ? [] : [`it ended with ${String(code)}`]),
  ];
}

/** What the next run, which has to finish, says of itself. */
export function unfinished({ code, stderr, failures }: RunResult, codes: readonly number[]): string[] {
  if (codes.includes(code ?? -1)) return [];
  return [`the next run ended with ${String(code)}: ${stderr} ${JSON.stringify(failures)}`];
}

/** Of a directory that a run was killed in, the time may wait for the next. Of what makeInflatedRoot and makeSmallRoot make. */
export function isTimeOfDirectory({ class: kind, path }: Difference): boolean {
  return kind === "mtime" && /^(\.|daily\.\d(\/docs(\/deep(\/er)?)?)?)$/.test(path);
}

/** Where the kernel refused to set it, that was listed. */
export function isTimeOfFailed(
  { class: kind, path }: Difference,
  { errno }: Fault,
  { failures }: RunResult,
): boolean {
  return kind === "mtime" && errno !== "KILL" && failures.some((failure) => failure.path === path);
}

/** Every `stride`th call from `first` on, and a few beyond the last: more calls may come with a fault. */
export function everyNth(calls: number, stride: number, first = 1): number[] {
  return Array.from(
    { length: Math.ceil((calls + 3 - first) / stride) },
    (_, index) => first + index * stride,
  );
}
