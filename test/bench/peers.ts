import { join } from "node:path";
import type { Scenario } from "./scenarios.ts";
import type { Tools } from "./tools.ts";

export interface Peer {
  readonly name: string;
  /** The command that makes the empty folder `target` equal to `source`. */
  command(source: string, target: string): string[];
}

export const dedupe: Peer = {
  name: "dedupe -j 2",
  command: (source, target) => [
    process.execPath,
    join(process.cwd(), "bin", "dedupe.js"),
    ...["migrate", "-j", "2", "--no-progress", source, target],
  ],
};

const rsync: Peer = {
  name: "rsync -aH",
  command: (source, target) => ["rsync", "-aH", `${source}/`, `${target}/`],
};

const cp: Peer = { name: "cp -a", command: (source, target) => ["cp", "-a", `${source}/.`, `${target}/`] };

/** About what C needs, in one thread and in two; nothing for trees that neither program is made for. */
function floorsFor({ source }: Scenario, { floor, floorWalk }: Tools): Peer[] {
  if ("files" in source && source.files <= 4) return [];
  return [1, 2].map((threads) => ({
    name: `floor, ${threads} thread${threads > 1 ? "s" : ""}`,
    command: (from, to) =>
      "files" in source
        ? [floor, from, to, ...[source.snapshots, source.folders, source.files, threads].map(String)]
        : [floorWalk, from, to, String(threads)],
  }));
}

/** Peers by the name that --peers takes. */
export function peersFor(scenario: Scenario, tools: Tools, wanted: readonly string[]): Peer[] {
  const all: Record<string, Peer[]> = {
    dedupe: [dedupe],
    rsync: [rsync],
    cp: [cp],
    floor: floorsFor(scenario, tools),
  };
  return wanted.flatMap((name) => {
    // Those heal a tree in place (relink.ts).
    const peers = ["hardlink", "jdupes", "rdfind"].includes(name) ? [] : all[name];
    if (peers === undefined) throw new Error(`no peer is called ${name}: ${Object.keys(all).join(", ")}`);
    return peers;
  });
}
