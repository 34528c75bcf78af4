import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountImage, mountScratch } from "./image.ts";
import { dedupe } from "./peers.ts";
import { sourceImage, type Scenario } from "./scenarios.ts";
import { warm, type Count, type Tools } from "./tools.ts";

export interface MemoryResult {
  readonly scenario: string;
  readonly title: string;
  readonly source: Count;
  readonly limitMiB: number | undefined;
  readonly peakRssAnonMiB: number;
  readonly seconds: number;
}

/** Peak RssAnon of `dedupe migrate -j 2`; with a limit, in a memory cgroup of its own, or an error if that kills it. */
export async function measureMemory(
  scenario: Scenario,
  tools: Tools,
  limitMiB?: number,
): Promise<MemoryResult> {
  const mounted = mountImage(sourceImage(scenario, tools), "ro");
  const root = join(mounted.path, "root");
  // An image in memory is charged to the cgroup that writes to it and cannot be written back: hence a disk.
  const folder = limitMiB === undefined ? undefined : join(tmpdir(), "dedupe-bench");
  const filesystem = mountScratch(scenario.targetGiB ?? scenario.imageGiB, folder);
  const target = join(filesystem.path, "root");
  mkdirSync(target);
  const source = warm(tools, root);
  const start = Date.now();
  const peakRssAnonMiB = await inCgroup(limitMiB, (enter) =>
    peakOf([...enter, ...dedupe.command(root, target)]),
  );
  const seconds = (Date.now() - start) / 1000;
  process.stderr.write(`${scenario.name}: ${peakRssAnonMiB} MiB, ${seconds.toFixed(1)} s\n`);
  filesystem.close();
  mounted.close();
  return { scenario: scenario.name, title: scenario.title, source, limitMiB, peakRssAnonMiB, seconds };
}

/** RssAnon, not RSS: that counts the mapped pages of the index, which the kernel can drop. */
async function peakOf([command, ...args]: string[]): Promise<number> {
  const child = spawn(command!, args, { stdio: ["ignore", "ignore", "inherit"] });
  let peakKiB = 0;
  const sampler = setInterval(() => {
    peakKiB = Math.max(peakKiB, rssAnonKiB(child.pid));
  }, 20);
  const ending = await new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(String(signal ?? code)));
  });
  clearInterval(sampler);
  if (ending !== "0") throw new Error(`${command} ${args.join(" ")} ended with ${ending}`);
  return Math.round((peakKiB / 1024) * 10) / 10;
}

function rssAnonKiB(pid: number | undefined): number {
  try {
    return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0; // it has just ended
  }
}

/** `task` gets the words that, put before a command, start it inside the cgroup. */
async function inCgroup<T>(limitMiB: number | undefined, task: (enter: string[]) => Promise<T>): Promise<T> {
  if (limitMiB === undefined) return task([]);
  const v1 = "/sys/fs/cgroup/memory";
  const group = join(existsSync(v1) ? v1 : "/sys/fs/cgroup", `dedupe-bench-${process.pid}`);
  mkdirSync(group);
  try {
    const limit = join(group, existsSync(v1) ? "memory.limit_in_bytes" : "memory.max");
    writeFileSync(limit, String(limitMiB * 2 ** 20));
    return await task(["sh", "-c", `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`, "sh"]);
  } finally {
    rmdirSync(group);
  }
}
