import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { mountImage, mountScratch, run } from "./image.ts";
import { peersFor, type Peer } from "./peers.ts";
import { sourceImage, type Scenario } from "./scenarios.ts";
import { count, warm, type Count, type Tools } from "./tools.ts";

export interface SpeedResult {
  readonly scenario: string;
  readonly title: string;
  readonly source: Count;
  /** Seconds of every run, by peer. */
  readonly seconds: Readonly<Record<string, readonly number[]>>;
}

/** Runs the peers in turn, `runs` times over: what else the machine does meanwhile hits all of them. */
export function measureSpeed(
  scenario: Scenario,
  tools: Tools,
  { runs, peers: wanted }: { runs: number; peers: readonly string[] },
): SpeedResult {
  const image = sourceImage(scenario, tools);
  const mounted = mountImage(image, "ro");
  const root = join(mounted.path, "root");
  const peers = peersFor(scenario, tools, wanted);
  const source = warm(tools, root);
  const seconds: Record<string, number[]> = Object.fromEntries(peers.map(({ name }) => [name, []]));
  for (let round = 1; round <= runs; round += 1) {
    for (const peer of peers) {
      const took = measureOnce(peer, { scenario, tools, root });
      seconds[peer.name]!.push(took);
      process.stderr.write(`${scenario.name} ${round}/${runs} ${peer.name}: ${took.toFixed(3)} s\n`);
    }
  }
  mounted.close();
  return { scenario: scenario.name, title: scenario.title, source, seconds };
}

function measureOnce(peer: Peer, run: { scenario: Scenario; tools: Tools; root: string }): number {
  const { scenario, tools, root } = run;
  const filesystem = mountScratch(scenario.targetGiB ?? scenario.imageGiB);
  const target = join(filesystem.path, "root");
  mkdirSync(target);
  const source = warm(tools, root);
  const took = timed(peer.command(root, target), target);
  checkComplete(peer, source, count(tools, target));
  filesystem.close();
  return took;
}

/** Until everything is on the target's disk. */
export function timed([command, ...args]: string[], target: string): number {
  const start = process.hrtime.bigint();
  const { status, error } = spawnSync(command!, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`, { cause: error });
  run("sync", "-f", target);
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** A program that does nothing is fast. dedupe may merge inodes, nobody may split them. */
function checkComplete({ name }: Peer, source: Count, target: Count): void {
  if (target.names === source.names && target.inodes <= source.inodes) return;
  throw new Error(`${name} made ${JSON.stringify(target)} of ${JSON.stringify(source)}`);
}
