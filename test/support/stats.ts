import type { StatsSummary } from "../../src/report/events.ts";
import { dedupe, type JsonEvent, type Run, type RunSettings } from "./dedupe.ts";
import { runPython } from "./python.ts";

export type StatsRun = Run & {
  readonly events: readonly JsonEvent[];
  readonly summary: StatsSummary;
  /** The rows, by path as latin1. */
  readonly rows: Readonly<Record<string, JsonEvent>>;
};

/** `dedupe stats --json`, its events parsed; the summary is the last of them. */
export function stats(args: readonly string[], settings: RunSettings = {}): StatsRun {
  const run = dedupe(["stats", "--json", "--no-progress", ...args], settings);
  const lines = run.out.split("\n").filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line) as JsonEvent);
  const holdings = events.filter(({ type }) => type === "holding");
  const rows = Object.fromEntries(holdings.map((event) => [latin1(event["path"]), event]));
  return { ...run, events, rows, summary: events.at(-1) as unknown as StatsSummary };
}

export function latin1(path: unknown): string {
  const bytes =
    typeof path === "string" ? Buffer.from(path) : Buffer.from((path as { bytes: string }).bytes, "base64");
  return bytes.toString("latin1");
}

const rowFields = [
  "names",
  "directories",
  "inodes",
  "bytes",
  "aloneBytes",
  "sharedBytes",
  "aloneInodes",
  "plainBytes",
] as const;

const wholeFields = [
  "names",
  "directories",
  "inodes",
  "bytes",
  "contentBytes",
  "plainBytes",
  "aloneBytes",
  "objects",
  "unnamedObjects",
  "unnamedBytes",
  "storeBytes",
  "elsewhereInodes",
  "mostLinks",
] as const;

type Counts = Record<string, number>;
type Figures = { rows: Record<string, Counts>; whole: Counts; freed: Counts | undefined; largest: number[] };

/** The figures of a run, in the shape in which the oracle gives its own. */
export function figuresOf({ rows, events, summary }: StatsRun): Figures {
  const pick = (from: object, fields: readonly string[]): Counts =>
    Object.fromEntries(fields.map((field) => [field, (from as Counts)[field]!]));
  const { ifDeleted } = summary;
  return {
    rows: Object.fromEntries(Object.entries(rows).map(([path, row]) => [path, pick(row, rowFields)])),
    whole: pick(summary, wholeFields),
    freed: ifDeleted === undefined ? undefined : { inodes: ifDeleted.inodes, bytes: ifDeleted.bytes },
    largest: events.filter(({ type }) => type === "largest").map(({ bytes }) => Number(bytes)),
  };
}

/** What a Python script that knows lstat alone says of the same units. */
export function oracleFigures(root: string, run: StatsRun): Figures {
  const units = Object.entries(run.rows).map(([path, { kind }]) => [path, kind]);
  const chosen = Object.entries(run.rows).flatMap(([path, { isInSet }]) => (isInSet === true ? [path] : []));
  const said = runPython("stats.py", { args: [root], input: JSON.stringify({ units, chosen }) });
  const figures = JSON.parse(said) as Figures;
  return { ...figures, freed: run.summary.ifDeleted === undefined ? undefined : figures.freed };
}
