import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountImage, mountScratch } from "./image.ts";
import { dedupe } from "./peers.ts";
import { sourceImage, type Scenario } from "./scenarios.ts";
import type { SpeedResult } from "./speed.ts";
import { warm, type Tools } from "./tools.ts";

/** A compact of a store in which nothing has changed, and `find` over the same names, in turn. */
export function measureCompact(scenario: Scenario, tools: Tools, { runs }: { runs: number }): SpeedResult {
  const mounted = mountImage(sourceImage(scenario, tools), "ro");
  const filesystem = mountScratch(scenario.targetGiB ?? scenario.imageGiB);
  const target = join(filesystem.path, "root");
  mkdirSync(target);
  const root = join(mounted.path, "root");
  warm(tools, root);
  timed(dedupe.command(root, target));
  mounted.close();
  const compact = [process.execPath, join(process.cwd(), "bin", "dedupe.js"), "compact"];
  const peers = {
    [dedupe.name]: [...compact, ...["-j", "2", "--no-progress", target]],
    "find -printf ''": ["find", target, "-printf", ""],
  };
  const source = warm(tools, target);
  const seconds: Record<string, number[]> = { [dedupe.name]: [], "find -printf ''": [] };
  // The kernel still holds each name that was migrated and counted, and searches what it needs among ten million.
  writeFileSync("/proc/sys/vm/drop_caches", "2");
  // The first one gives the index its size, and find its directories.
  for (const command of Object.values(peers)) timed(command);
  for (let round = 1; round <= runs; round += 1) {
    for (const [name, command] of Object.entries(peers)) {
      const took = timed(command);
      seconds[name]!.push(took);
      process.stderr.write(`${scenario.name} compact ${round}/${runs} ${name}: ${took.toFixed(3)} s\n`);
    }
  }
  filesystem.close();
  const title = `compact of an unchanged store: ${scenario.title}`;
  return { scenario: `compact-${scenario.name}`, title, source, seconds };
}

function timed([command, ...args]: string[]): number {
  const start = process.hrtime.bigint();
  const { status, error } = spawnSync(command!, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`, { cause: error });
  return Number(process.hrtime.bigint() - start) / 1e9;
}
