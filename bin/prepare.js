// Makes a clone ready: installs what package-lock.json names, builds when a source is newer than the build.
// Runs before `npm start` and `npm test`, on npm's own `prepare`, and when a linked clone starts for the first
// time; hence only Node's own modules here.
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const built = join(root, "dist", "cli.js");
const lockfile = join(root, "package-lock.json");
const packages = join(root, "node_modules");
const installed = join(packages, ".package-lock.json");
const sources = ["src", "store", "test/support/faults", "rolldown.config.js"];

function mtimeMs(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

function isLink(path) {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

function newestMs(path) {
  if (!existsSync(path) || !statSync(path).isDirectory()) return mtimeMs(path);
  return Math.max(0, ...readdirSync(path).map((name) => newestMs(join(path, name))));
}

/** stdout belongs to the program that starts afterwards; there the build only lists its files. */
function npm(...args) {
  // `npm install -g .` hands down its own --global and --prefix, which would lead these calls elsewhere.
  const inherited = /^npm_config_(global|prefix|local_prefix|location)$/i;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !inherited.test(name)));
  execFileSync("npm", args, { cwd: root, env, stdio: ["ignore", "ignore", 2] });
}

function isInstalled() {
  // A linked folder belongs to another checkout: `npm ci` would empty it.
  if (isLink(packages)) return true;
  // Inside npm's own installation the lockfile may be the younger one by some milliseconds.
  if (process.env.npm_lifecycle_event === "prepare") return existsSync(installed);
  return mtimeMs(installed) >= mtimeMs(lockfile);
}

if (existsSync(lockfile)) {
  if (!isInstalled()) npm("ci", "--ignore-scripts", "--silent");
  const newestSourceMs = Math.max(...sources.map((name) => newestMs(join(root, name))));
  const canBuild = existsSync(join(packages, "rolldown"));
  if (canBuild && mtimeMs(built) < newestSourceMs) npm("run", "--silent", "build");
}
