import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "./image.ts";

/** Where the C programs and the figures go; git ignores it. */
export const workFolder = join(process.cwd(), ".cache", "bench");

export interface Count {
  readonly names: number;
  readonly inodes: number;
}

/** The C programs of the bench, compiled once a session. */
export interface Tools {
  readonly floor: string;
  readonly floorWalk: string;
  readonly tree: string;
}

export function compileTools(): Tools {
  mkdirSync(workFolder, { recursive: true });
  // test/support, compiled to this folder, looks for the installed packages beside itself.
  const packages = join(workFolder, "node_modules");
  if (!existsSync(packages)) symlinkSync(join(process.cwd(), "node_modules"), packages);
  return { floor: compile("floor"), floorWalk: compile("floor-walk"), tree: compile("tree") };
}

/** Stats every name of the tree and reads every inode: page cache, dentries and inodes are warm afterwards. */
export function warm({ tree }: Tools, root: string): Count {
  return counted(run(tree, "warm", root));
}

export function count({ tree }: Tools, root: string): Count {
  return counted(run(tree, "count", root));
}

function compile(name: string): string {
  const program = join(workFolder, name);
  run("gcc", "-O2", "-pthread", "-o", program, join(process.cwd(), "test", "bench", `${name}.c`));
  return program;
}

function counted(line: string): Count {
  const [names, inodes] = line.trim().split(" ").map(Number);
  return { names: names!, inodes: inodes! };
}
