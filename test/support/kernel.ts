import { openSync } from "node:fs";
import { openSys } from "../../src/sys/linux.ts";
import { Scratch } from "../../src/sys/scratch.ts";
import type { Kernel } from "../../src/sys/files.ts";

/** The real kernel, as the program opens it. */
export function openKernel(): Kernel {
  const sys = openSys();
  return { sys, scratch: new Scratch(sys) };
}

/** A descriptor of the directory; the process's end closes it. */
export function openFolder(path: string): number {
  return openSync(path, "r");
}
