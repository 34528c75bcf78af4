import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { makeRsnapshotRoot } from "../support/rsnapshot.ts";
import { imageFolder, makeImage, mountImage, run } from "./image.ts";
import type { Tools } from "./tools.ts";

/** A tree made by tree.c: every snapshot has the same folders with the same files, all of them hard links. */
export interface Grid {
  readonly snapshots: number;
  readonly folders: number;
  readonly files: number;
  readonly minBytes: number;
  readonly maxBytes: number;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly source: Grid | { readonly rsnapshots: number; readonly scale: number };
  readonly imageGiB: number;
  /** Of the targets, where it differs from the source's. */
  readonly targetGiB?: number;
}

const small = { minBytes: 512, maxBytes: 4096 };

const full = {
  a: {
    title: "1,000,000 names of 20,000 small inodes in 50 snapshots",
    source: { snapshots: 50, folders: 200, files: 100, ...small },
    imageGiB: 4,
  },
  b: {
    title: "a real rsnapshot root of 30 snapshots",
    source: { rsnapshots: 30, scale: 1 },
    imageGiB: 4,
  },
  c: {
    title: "2 GiB in 4 large files",
    source: { snapshots: 1, folders: 1, files: 4, minBytes: 2 ** 29, maxBytes: 2 ** 29 },
    imageGiB: 4,
  },
  d: {
    title: "100,000 small files in one snapshot",
    source: { snapshots: 1, folders: 1000, files: 100, ...small },
    imageGiB: 4,
  },
  "memory-1m": {
    title: "1,000,000 names of 100,000 inodes",
    source: { snapshots: 10, folders: 1000, files: 100, ...small },
    imageGiB: 4,
  },
  "memory-10m": {
    title: "10,000,000 names of 1,000,000 inodes",
    source: { snapshots: 10, folders: 10_000, files: 100, ...small },
    imageGiB: 32,
  },
} satisfies Record<string, Omit<Scenario, "name">>;

export type ScenarioName = keyof typeof full;

/** Small enough to prove in seconds that the bench works. */
const quick: Record<ScenarioName, Scenario["source"]> = {
  a: { snapshots: 3, folders: 10, files: 20, ...small },
  b: { rsnapshots: 3, scale: 0.02 },
  c: { snapshots: 1, folders: 1, files: 2, minBytes: 2 ** 23, maxBytes: 2 ** 23 },
  d: { snapshots: 1, folders: 10, files: 50, ...small },
  "memory-1m": { snapshots: 3, folders: 10, files: 20, ...small },
  "memory-10m": { snapshots: 3, folders: 100, files: 20, ...small },
};

export function scenario(name: ScenarioName, size: "full" | "quick"): Scenario {
  if (size === "full") return { name, ...full[name] };
  return {
    name: `${name}-quick`,
    title: `${full[name].title} (a small sample)`,
    source: quick[name],
    imageGiB: 1,
  };
}

/** The scenario's source on an image of its own; made once, kept for later sessions. */
export function sourceImage({ name, source, imageGiB }: Scenario, tools: Tools): string {
  const image = join(imageFolder, `${name}-${Object.values(source).join("-")}.image`);
  if (existsSync(image)) return image;
  mkdirSync(imageFolder, { recursive: true });
  const unfinished = `${image}.unfinished`;
  makeImage(unfinished, imageGiB);
  const mounted = mountImage(unfinished, "rw");
  try {
    makeSource(join(mounted.path, "root"), source, tools);
  } finally {
    mounted.close();
  }
  renameSync(unfinished, image);
  return image;
}

function makeSource(root: string, source: Scenario["source"], { tree }: Tools): void {
  if ("rsnapshots" in source) {
    makeRsnapshotRoot(root, { snapshots: source.rsnapshots, scale: source.scale }).close();
    return;
  }
  const { snapshots, folders, files, minBytes, maxBytes } = source;
  run(tree, "make", root, ...[snapshots, folders, files, minBytes, maxBytes].map(String));
}
