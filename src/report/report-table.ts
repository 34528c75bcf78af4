/** What the closing reports of all commands share. */
import { formatCount, formatQuantity, formatText } from "./format.ts";
import type { ReasonCounts } from "./reasons.ts";

export type Row = [label: string, text: string];

export function table(entries: Row[]): string[] {
  const width = Math.max(...entries.map(([label]) => label.length));
  return entries.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`);
}

export function bySignal(exitCode: number): string {
  const name = { 129: "SIGHUP", 130: "SIGINT", 143: "SIGTERM" }[exitCode];
  return name === undefined ? "" : ` by ${name}`;
}

export function skippedText(failures: number, reasons: ReasonCounts): string {
  if (failures === 0) return "";
  const byCount = [...reasons].sort(([, a], [, b]) => b - a);
  const why = byCount.map(([code, count]) => `${formatCount(count)} ${formatText(code)}`).join(", ");
  return `${formatQuantity(failures, "entry", "entries")}${why === "" ? "" : `: ${why}`}`;
}
