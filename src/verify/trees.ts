import type { Crew } from "./crew.ts";
import { directoryDigest } from "./digest.ts";
import type { Task, TaskResult } from "./messages.ts";

/** Directories this far from the root may still be shared out, one by one. */
const SHARED_LEVELS = 6;
/** Tasks for each worker that are made before directories are given out whole. */
const TASKS_PER_WORKER = 4;

/** What is under way, for the progress line. */
export type Parts = { begun: number; done: number; current: Buffer };

export const noParts = (): Parts => ({ begun: 0, done: 0, current: Buffer.alloc(0) });

/** Has everything below the roots walked. @returns the digest of each tree; undefined when the run is stopped */
export async function walkTrees(crew: Crew, parts: Parts): Promise<Buffer[] | undefined> {
  return walk(crew, parts, "", 0);
}

async function walk(crew: Crew, parts: Parts, path: string, level: number): Promise<Buffer[] | undefined> {
  const result = await follow(crew, parts, { type: "walk", path, depth: depthAt(crew, level) });
  if (result?.type !== "walk") return undefined;
  const below = await Promise.all(
    result.left.map(async (name) => ({
      name,
      digests: await walk(crew, parts, join(path, name), level + 1),
    })),
  );
  return result.sides.map(({ attributes, section, subdirectories }, side) => {
    const others = below.flatMap(({ name, digests }) => {
      const digest = digests?.[side];
      return digest === undefined ? [] : [{ name, digest }];
    });
    const all = [...subdirectories, ...others].sort((a, b) => (a.name < b.name ? -1 : 1));
    return directoryDigest(Buffer.from(attributes), Buffer.from(section), all);
  });
}

/** Has every name of the tree looked up among the store's inodes. */
export async function walkNames(crew: Crew, parts: Parts, path = "", level = 0): Promise<void> {
  const result = await follow(crew, parts, { type: "names", path, depth: depthAt(crew, level) });
  if (result?.type !== "names") return;
  await Promise.all(result.left.map((name) => walkNames(crew, parts, join(path, name), level + 1)));
}

/** A task whose beginning and end the progress line shows. */
export async function follow(crew: Crew, parts: Parts, task: Task): Promise<TaskResult | undefined> {
  parts.begun++;
  const result = await crew.run(task);
  parts.done++;
  if ("path" in task) parts.current = Buffer.from(task.path, "latin1");
  return result;
}

function depthAt(crew: Crew, level: number): "shallow" | "deep" {
  if (crew.jobs === 1) return "deep";
  return level < SHARED_LEVELS && crew.pending < crew.jobs * TASKS_PER_WORKER ? "shallow" : "deep";
}

const join = (path: string, name: string): string => (path === "" ? name : `${path}/${name}`);
