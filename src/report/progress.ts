/** The bar on a terminal, and its stand-in elsewhere: one plain line a minute. */
import type * as CliProgress from "cli-progress";
import { createRequire } from "node:module";
import { compactLine, type CompactProgress } from "./compact-line.ts";
import {
  clip,
  columnsOf,
  formatBytes,
  formatCount,
  formatDuration,
  formatPath,
  formatQuantity,
} from "./format.ts";
import { createPaceMeter, type Pace, type ProgressEvent } from "./pace.ts";
import { relinkLine, type RelinkProgress } from "./relink-line.ts";
import type { Bar, Stream } from "./screen.ts";

export type Progress = { update(event: AnyProgress): void; stop(): void };

/** What a bar or a line can be made of. */
type AnyProgress = ProgressEvent | RelinkProgress | CompactProgress;

const framesPerSecond = 5;
const barColumns = 12;
const plainEveryMs = 60_000;

export function createBar(stream: Stream): Progress & Bar {
  // Loaded where there is a terminal only: most runs have none.
  const cliProgress = createRequire(import.meta.url)("cli-progress") as typeof CliProgress;
  const describe = createDescriber();
  let line: (columns: number) => string = () => "";
  // MultiBar rather than SingleBar: a SingleBar restores the cursor to where it began, over the lines above it.
  const bars = new cliProgress.MultiBar({
    stream,
    fps: framesPerSecond,
    clearOnComplete: true,
    forceRedraw: true,
    linewrap: true,
    barsize: barColumns,
    format: (options, { progress, maxWidth }) => {
      const bar = cliProgress.Format.BarFormat(progress, options);
      return clip(`[${bar}] ${line(maxWidth - barColumns - 4)}`, maxWidth - 1);
    },
  });
  let bar: CliProgress.SingleBar | undefined;
  let stopped = false;
  return {
    update(event) {
      if (stopped) return;
      const { total, done, text } = describe(event);
      line = text;
      bar ??= bars.create(total, 0);
      bar.setTotal(total);
      bar.update(done);
    },
    above(print) {
      const drawn = bar !== undefined && !stopped;
      if (drawn) stream.write("\r\x1b[K");
      print();
      if (drawn) bars.update();
    },
    stop() {
      if (bar !== undefined && !stopped) bars.stop();
      stopped = true;
    },
  };
}

/** `print` takes one line without its end; lines come a minute apart by the run's own clock. */
export function createPlainProgress(print: (line: string) => void): Progress {
  const describe = createDescriber();
  let nextMs = plainEveryMs;
  return {
    update(event) {
      const { text } = describe(event);
      if (event.elapsedMs < nextMs) return;
      nextMs = event.elapsedMs + plainEveryMs;
      print(`${formatDuration(event.elapsedMs)}: ${text(Infinity)}`);
    },
    stop: () => undefined,
  };
}

type Described = { total: number; done: number; text: (columns: number) => string };

function createDescriber(): (event: AnyProgress) => Described {
  const pace = createPaceMeter();
  return (event) => {
    if (event.type === "relink-progress")
      return { total: event.total, done: event.done, text: (columns) => relinkLine(event, columns) };
    if (event.type === "compact-progress")
      return { total: 0, done: 0, text: (columns) => compactLine(event, columns) };
    const current = pace(event);
    const { snapshotsTotal, snapshotsDone } = event;
    const text = (columns: number): string => progressLine(event, current, columns);
    return { total: snapshotsTotal, done: snapshotsDone, text };
  };
}

type Part = {
  text: string;
  /** 0 is never dropped; the highest goes first when the terminal is narrow. */ rank: number;
};

export function progressLine(event: ProgressEvent, pace: Pace, columns: number): string {
  let parts = progressParts(event, pace);
  while (columnsOf(joined(parts)) > columns) {
    const last = Math.max(...parts.map(({ rank }) => rank));
    if (last === 0) break;
    parts = parts.filter(({ rank }) => rank !== last);
  }
  return joined(parts);
}

function progressParts(event: ProgressEvent, { namesPerSecond, bytesPerSecond, remainingMs }: Pace): Part[] {
  const { counters, snapshotsDone, snapshotsTotal, snapshot } = event;
  const current = formatCount(Math.min(snapshotsDone + 1, snapshotsTotal));
  const parts = [
    { text: `${event.unit ?? "snapshot"} ${current} of ${formatCount(snapshotsTotal)}`, rank: 0 },
    { text: formatPath(snapshot), rank: 5 },
    { text: formatQuantity(counters.names, "name"), rank: 1 },
  ];
  const reads = readsContent(event);
  if (reads) parts.push({ text: formatQuantity(counters.inodes, "inode"), rank: 3 });
  if (reads) parts.push({ text: formatBytes(counters.contentBytes), rank: 2 });
  parts.push({ text: `${formatCount(namesPerSecond)} names/s`, rank: 7 });
  if (reads) parts.push({ text: `${formatBytes(Math.round(bytesPerSecond))}/s`, rank: 6 });
  if (remainingMs !== undefined) parts.push({ text: `about ${roughly(remainingMs)} left`, rank: 4 });
  return parts.filter(({ text }) => text !== "");
}

/** Zeros of a run that counts names say nothing. */
const readsContent = ({ counters }: ProgressEvent): boolean =>
  counters.inodes > 0 || counters.contentBytes > 0 || counters.readBytes > 0;

/** An estimate pretends to no seconds beyond the first minute. */
function roughly(ms: number): string {
  if (ms < 10_000) return "10 s";
  return formatDuration(ms < 60_000 ? Math.ceil(ms / 10_000) * 10_000 : Math.round(ms / 60_000) * 60_000);
}

function joined(parts: Part[]): string {
  return parts.map(({ text }) => text).join("  ");
}
