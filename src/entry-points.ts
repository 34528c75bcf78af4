/** Where the program's parts lie that are loaded by URL: worker threads and the door to the kernel. */

/** As rolldown.config.js names them. */
export type EntryPoint =
  | "migrate-worker"
  | "survey-worker"
  | "relink-worker"
  | "compact-worker"
  | "verify-worker"
  | "stats-worker"
  | "linux";

/** The build puts every entry point, and whatever they share, side by side into dist/. */
export function entryPoint(name: EntryPoint): URL {
  return new URL(`./${name}.js`, import.meta.url);
}
