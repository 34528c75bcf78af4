import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "./repository-root.ts";

/* Where it exists, the system's own: a version manager's shim in PATH costs a shell at every start. */
const python = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";

export interface PythonCall {
  readonly args?: readonly string[];
  readonly input?: string;
  /** Exit codes that are answers, not failures. */
  readonly accept?: readonly number[];
}

/** Runs one of the scripts beside this file and returns its stdout. */
export function runPython(script: string, { args = [], input = "", accept = [] }: PythonCall = {}): string {
  try {
    return execFileSync(python, pythonArguments(script, args), {
      input,
      encoding: "utf8",
      maxBuffer: 2 ** 30,
      stdio: ["pipe", "pipe", "pipe"],
    });
  } catch (error) {
    const { status, stdout } = error as { status?: number | null; stdout?: string };
    if (typeof status === "number" && accept.includes(status)) return stdout ?? "";
    throw error;
  }
}

function pythonArguments(script: string, args: readonly string[]): string[] {
  return ["-B", join(repositoryRoot, "test/support", script), ...args];
}
