/** What is left in a source whose names were to be removed. */
import { manifest, type ManifestEntry } from "./oracle.ts";

/** Paths of everything but directories. */
export function namesIn(root: string): string[] {
  return manifest(root)
    .filter(({ type }) => type !== "directory")
    .map(({ path }) => path);
}

type Directory = Pick<ManifestEntry, "path" | "mode" | "uid" | "gid" | "mtimeNs">;

/** Directories with what a later run would carry to the target. */
export function directoriesIn(root: string): Directory[] {
  return manifest(root)
    .filter(({ type }) => type === "directory")
    .map(({ path, mode, uid, gid, mtimeNs }) => ({ path, mode, uid, gid, mtimeNs }));
}
