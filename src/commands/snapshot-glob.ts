import { parseFilter } from "../tree/filter.ts";
import type { Unit } from "../tree/snapshots.ts";
import type { Notice } from "./preflight.ts";

/**
 * --snapshots GLOB in the words of the filter language: "daily.*" is a name wherever it stands, "hosts/*\/2*" a path
 * from the root.
 */
export function snapshotMatcher(glob: string): (path: Buffer) => boolean {
  const anchored = glob.includes("/") ? `/${glob.replace(/^\/+/, "").replace(/\/+$/, "")}` : glob;
  const filter = parseFilter([{ type: "exclude", pattern: Buffer.from(anchored), origin: "--snapshots" }]);
  return (path) => !filter.takes(path, "directory");
}

/** What to say where `--snapshots` names nothing: a typing error must not look like a choice. */
export function aboutSnapshots(units: readonly Unit[], glob: string | undefined): Notice[] {
  if (glob === undefined || units.some(({ type }) => type === "snapshot")) return [];
  const message = `--snapshots '${glob}' is no directory's name or path here: nothing is taken for a snapshot`;
  return [{ level: "warning", code: "NO_SNAPSHOTS", message }];
}
