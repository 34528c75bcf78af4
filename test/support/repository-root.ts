import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The checkout's own folder, also where this module runs as compiled JavaScript from a folder below it. */
export const repositoryRoot = folderAbove(import.meta.dirname);

function folderAbove(start: string): string {
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, "package-lock.json"))) return folder;
  }
  throw new Error(`${start} is not inside a checkout of this project`);
}
