import { execFileSync } from "node:child_process";
import { cpSync, symlinkSync } from "node:fs";
import { basename, join, resolve } from "node:path";

export const projectRoot = resolve(import.meta.dirname, "..", "..");

/* What git does not track, and the tests' own leftovers. */
const untracked = new Set([".git", ".cache", "node_modules", "dist", "coverage"]);

/**
 * The project as a clone has it. "linked": with the packages of this checkout, so that it can build at once; other
 * tests run this checkout's dist meanwhile, which must not be rebuilt under them.
 */
export function copyProject(to: string, packages: "linked" | "none"): void {
  cpSync(projectRoot, to, { recursive: true, filter: (path) => !untracked.has(basename(path)) });
  if (packages === "linked") symlinkSync(join(projectRoot, "node_modules"), join(to, "node_modules"));
}

/** Runs npm as a user would type it: what the surrounding `npm test` hands down does not redirect it. */
export function npm(cwd: string, ...args: string[]): string {
  const redirects = /^npm_config_(global|prefix|local_prefix|location)$/i;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !redirects.test(name)));
  return execFileSync("npm", args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
