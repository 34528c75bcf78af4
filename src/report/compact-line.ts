/** A compact under way, in one line. */
import type { Event } from "./events.ts";
import { clip, formatBytes, formatQuantity } from "./format.ts";

export type CompactProgress = Extract<Event, { type: "compact-progress" }>;

const doing: Readonly<Record<CompactProgress["step"], string>> = {
  look: "looking",
  sweep: "sweeping",
  adopt: "adopting",
  refile: "re-filing",
  prune: "pruning",
  fold: "folding",
  index: "indexing",
};

export function compactLine({ step, counters }: CompactProgress, columns: number): string {
  const { objects, names, readBytes, freedBytes } = counters;
  const parts = [
    doing[step],
    formatQuantity(objects, "object"),
    formatQuantity(names, "name"),
    readBytes > 0 ? `${formatBytes(readBytes)} read` : "",
    freedBytes > 0 ? `${formatBytes(freedBytes)} freed` : "",
  ];
  const text = parts.filter((part) => part !== "").join("  ");
  return columns === Infinity ? text : clip(text, columns);
}
