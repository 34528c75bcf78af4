import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { imageFolder, makeImage, mountImage, run } from "./image.ts";
import { dedupe, type Peer } from "./peers.ts";
import { scenario, sourceImage } from "./scenarios.ts";
import { timed, type SpeedResult } from "./speed.ts";
import { count, warm, type Count, type Tools } from "./tools.ts";

/** A tree to be healed: on an image of its own, of which each program gets a fresh copy. */
interface Inflated {
  readonly name: string;
  readonly title: string;
  readonly make: (root: string, tools: Tools) => void;
  readonly imageGiB: number;
  /** Options of mkfs.ext4. */
  readonly options?: readonly string[];
}

type Size = "full" | "quick";

const healing: Peer = {
  name: dedupe.name,
  command: (root) => [
    process.execPath,
    join(process.cwd(), "bin", "dedupe.js"),
    ...["relink", "-j", "2", "--no-progress", root],
  ],
};

const healers: Record<string, Peer> = {
  dedupe: healing,
  hardlink: { name: "hardlink", command: (root) => ["hardlink", root] },
  jdupes: { name: "jdupes -L -r", command: (root) => ["jdupes", "-L", "-r", "-q", root] },
  rdfind: {
    name: "rdfind -makehardlinks true",
    command: (root) => ["rdfind", "-makehardlinks", "true", "-makeresultsfile", "false", root],
  },
};

/** A real rsnapshot root as `rsync -a` without -H leaves it. */
export function inflatedRoot(size: Size): Inflated {
  const source = scenario("b", size);
  return {
    name: `relink-${size}`,
    title: `${source.title}, copied by rsync -a without -H`,
    imageGiB: source.imageGiB + 2,
    make: (root, tools) => {
      const mounted = mountImage(sourceImage(source, tools), "ro");
      run("rsync", "-a", `${mounted.path}/root/`, `${root}/`);
      mounted.close();
    },
  };
}

/** Many small files of five sizes (util-linux#4107), each content twice. */
export function fewSizes(size: Size, files: number): Inflated {
  const number = size === "full" ? files : files / 100;
  return {
    name: `few-sizes-${number}`,
    title: `${number} small files of five sizes, each content twice`,
    imageGiB: 4,
    options: ["-i", "4096"],
    make: (root, { tree }) => {
      run(tree, "few", root, String(number));
    },
  };
}

/** Runs the programs in turn, `runs` times over, each on a fresh copy of the image. */
export function measureHealing(
  inflated: Inflated,
  tools: Tools,
  { runs, peers: wanted }: { runs: number; peers: readonly string[] },
): SpeedResult {
  const image = inflatedImage(inflated, tools);
  const peers = wanted.flatMap((name) => healers[name] ?? []);
  const seconds: Record<string, number[]> = Object.fromEntries(peers.map(({ name }) => [name, []]));
  let source: Count = { names: 0, inodes: 0 };
  for (let round = 1; round <= runs; round += 1) {
    for (const peer of peers) {
      const once = measureOnce(peer, image, tools);
      source = once.before;
      seconds[peer.name]!.push(once.took);
      process.stderr.write(`${inflated.name} ${round}/${runs} ${peer.name}: ${once.took.toFixed(3)} s\n`);
    }
  }
  return { scenario: inflated.name, title: inflated.title, source, seconds };
}

function inflatedImage({ name, make, imageGiB, options = [] }: Inflated, tools: Tools): string {
  const image = join(imageFolder, `${name}.image`);
  if (existsSync(image)) return image;
  mkdirSync(imageFolder, { recursive: true });
  const unfinished = `${image}.unfinished`;
  makeImage(unfinished, imageGiB, options);
  const mounted = mountImage(unfinished, "rw");
  try {
    mkdirSync(join(mounted.path, "root"));
    make(join(mounted.path, "root"), tools);
  } finally {
    mounted.close();
  }
  renameSync(unfinished, image);
  return image;
}

function measureOnce(peer: Peer, image: string, tools: Tools): { before: Count; took: number } {
  const copy = `${image}.copy`;
  run("cp", "--sparse=always", image, copy);
  const mounted = mountImage(copy, "rw");
  try {
    const root = join(mounted.path, "root");
    const before = warm(tools, root);
    const took = timed(peer.command(root, root), root);
    checkHealed(peer, before, count(tools, root));
    return { before, took };
  } finally {
    mounted.close();
    run("rm", copy);
  }
}

/** A program that does nothing is fast. */
function checkHealed({ name }: Peer, before: Count, after: Count): void {
  if (after.names === before.names && after.inodes <= before.inodes / 1.5) return;
  throw new Error(`${name} made ${JSON.stringify(after)} of ${JSON.stringify(before)}`);
}
