/** Tests that need something of the machine skip aloud where it is missing, and fail where nothing may be skipped (CI). */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Use as `describe.skipIf(!requireTool("rsync"))`. */
export function requireTool(name: string): boolean {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  const found = directories.some((directory) => isExecutable(join(directory, name)));
  return requirement(found, `${name} is not installed`);
}

/** Loop devices, which only root may set up. */
export function requireLoop(): boolean {
  if (!requirement(process.getuid?.() === 0, "loop devices need root")) return false;
  if (!requireTool("losetup")) return false;
  return requirement(spawnSync("losetup", ["--find"]).status === 0, "there is no loop device");
}

/** `reason` says what is missing where the condition is not met. */
export function requirement(met: boolean, reason: string): boolean {
  if (met) return true;
  if (process.env["DEDUPE_TESTS_NO_SKIP"]) throw new Error(`no test may be skipped, but ${reason}`);
  process.stderr.write(`skipped tests: ${reason}\n`);
  return false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
