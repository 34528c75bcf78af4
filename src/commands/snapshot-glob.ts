import { parseFilter } from "../tree/filter.ts";

/**
 * --snapshots GLOB in the words of the filter language: "daily.*" is a name wherever it stands, "hosts/*\/2*" a path
 * from the root.
 */
export function snapshotMatcher(glob: string): (path: Buffer) => boolean {
  const anchored = glob.includes("/") ? `/${glob.replace(/^\/+/, "").replace(/\/+$/, "")}` : glob;
  const filter = parseFilter([{ type: "exclude", pattern: Buffer.from(anchored), origin: "--snapshots" }]);
  return (path) => !filter.takes(path, "directory");
}
