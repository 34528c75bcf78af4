import type { MemoryResult } from "./memory.ts";
import { dedupe } from "./peers.ts";
import type { SpeedResult } from "./speed.ts";

/** Ratios are to dedupe, where it ran: how many times as long a peer takes. */
export function speedTable({ title, source, seconds }: SpeedResult): string {
  const base = dedupe.name in seconds ? dedupe.name : Object.keys(seconds)[0];
  const baseSeconds = base === undefined ? 0 : median(seconds[base]!);
  const rows = Object.entries(seconds).map(([peer, runs]) => [
    peer,
    ...[median(runs), Math.min(...runs), Math.max(...runs)].map((each) => `${each.toFixed(3)} s`),
    (median(runs) / baseSeconds).toFixed(2),
  ]);
  return table(`${title} (${source.names} names, ${source.inodes} inodes)`, [
    ["", "median", "min", "max", `times ${base ?? ""}`],
    ...rows,
  ]);
}

export function memoryTable(results: readonly MemoryResult[]): string {
  const base = results[0]?.peakRssAnonMiB ?? 0;
  const rows = results.map(({ title, limitMiB, peakRssAnonMiB, seconds }) => [
    limitMiB === undefined ? title : `${title}, cgroup of ${limitMiB} MiB`,
    `${peakRssAnonMiB} MiB`,
    (peakRssAnonMiB / base).toFixed(2),
    `${seconds.toFixed(1)} s`,
  ]);
  return table("memory of dedupe -j 2", [["", "peak RssAnon", "times the first", "time"], ...rows]);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function table(title: string, rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(([first, ...rest]) =>
    [first!.padEnd(widths[0]!), ...rest.map((cell, i) => cell.padStart(widths[i + 1]!))].join("  ").trimEnd(),
  );
  return [title, ...lines.map((line) => `  ${line}`)].join("\n");
}
