import { spawnSync } from "node:child_process";
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageFolder, makeImage, mountImage, run } from "./image.ts";
import { dedupe } from "./peers.ts";
import { sourceImage, type Scenario } from "./scenarios.ts";
import type { SpeedResult } from "./speed.ts";
import { count, warm, type Tools } from "./tools.ts";

/** What is taken together for the limit that verify is held to. */
const verify = "dedupe verify -j 2";
const floor = ["b3sum", "find"] as const;

/**
 * A target that migrate makes of the scenario's source, read again by verify, by b3sum (each unique file once) and by
 * find, in turn. Before each the target is mounted anew: nothing of it is in memory, for any of them.
 */
export function measureVerify(scenario: Scenario, tools: Tools, runs: number): SpeedResult {
  const source = mountImage(sourceImage(scenario, tools), "ro");
  const image = join(imageFolder, "verify.image");
  makeImage(image, scenario.targetGiB ?? scenario.imageGiB);
  const list = join(imageFolder, "verify.list");
  const sourceRoot = join(source.path, "root");
  const counted = warm(tools, sourceRoot);
  onTarget(image, (target) => {
    mkdirSync(target);
    const [command, ...args] = dedupe.command(sourceRoot, target);
    if (spawnSync(command!, args, { stdio: ["ignore", "ignore", "inherit"] }).status !== 0)
      throw new Error("migrate failed");
    if (count(tools, target).names < counted.names) throw new Error("migrate made too little");
    writeFileSync(list, uniqueFiles(target).join("\0"));
  });
  source.close();
  const commands: Record<string, (target: string) => string[]> = {
    [verify]: (target) => [
      process.execPath,
      join(process.cwd(), "bin", "dedupe.js"),
      ...["verify", "-j", "2", "--no-progress", target],
    ],
    b3sum: () => ["xargs", "-0", "b3sum", "--no-names"],
    find: (target) => ["find", target, "-printf", ""],
  };
  const seconds: Record<string, number[]> = { [verify]: [], b3sum: [], find: [], "b3sum + find": [] };
  for (let round = 1; round <= runs; round++) {
    for (const [name, command] of Object.entries(commands)) {
      const took = onTarget(image, (target) => timed(command(target), { target, list }));
      seconds[name]!.push(took);
      process.stderr.write(`verify ${round}/${runs} ${name}: ${took.toFixed(3)} s\n`);
    }
    seconds["b3sum + find"]!.push(floor.reduce((sum, name) => sum + seconds[name]!.at(-1)!, 0));
  }
  run("rm", "-f", image, list);
  return { scenario: "verify", title: `verify of ${scenario.title}`, source: counted, seconds };
}

function onTarget<T>(image: string, work: (target: string) => T): T {
  const mounted = mountImage(image, "rw");
  try {
    return work(join(mounted.path, "root"));
  } finally {
    mounted.close();
  }
}

/** One path of each inode that has content, from the target's root. */
function uniqueFiles(target: string): string[] {
  const seen = new Set<bigint>();
  return readdirSync(target, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || path.startsWith(join(target, ".dedupe/"))) return [];
    const { ino, size } = lstatSync(path, { bigint: true });
    if (size === 0n || seen.has(ino)) return [];
    seen.add(ino);
    return [path.slice(target.length + 1)];
  });
}

function timed([command, ...args]: string[], { target, list }: { target: string; list: string }): number {
  const input = openSync(list, "r");
  const start = process.hrtime.bigint();
  const { status, error } = spawnSync(command!, args, { cwd: target, stdio: [input, "ignore", "inherit"] });
  const took = Number(process.hrtime.bigint() - start) / 1e9;
  closeSync(input);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`, { cause: error });
  return took;
}
