/** How fast a run goes and how long it may still take, from the progress events alone. */
import type { Event } from "./events.ts";

export type ProgressEvent = Extract<Event, { type: "progress" }>;

export type Pace = {
  namesPerSecond: number;
  /** Bytes read from the source: links never count as bytes. */
  bytesPerSecond: number;
  /** Undefined until one snapshot is through. */
  remainingMs: number | undefined;
};

type Sample = { atMs: number; names: number; readBytes: number };

const windowMs = 10_000;

/** Weight of the newest snapshot in the mean: the first one carries most content and must soon be forgotten. */
const newestWeight = 0.4;

export function createPaceMeter(): (event: ProgressEvent) => Pace {
  const rates = createRateWindow();
  const estimate = createEstimate();
  return (event) => ({ ...rates(event), remainingMs: estimate(event) });
}

function createRateWindow(): (event: ProgressEvent) => { namesPerSecond: number; bytesPerSecond: number } {
  let samples: Sample[] = [];
  return ({ elapsedMs, counters }) => {
    const newest = { atMs: elapsedMs, names: counters.names, readBytes: counters.readBytes };
    samples = [...samples.filter(({ atMs }) => atMs >= elapsedMs - windowMs && atMs < elapsedMs), newest];
    const oldest = samples[0] ?? newest;
    const seconds = (newest.atMs - oldest.atMs) / 1000;
    const perSecond = (amount: number): number => (seconds > 0 ? amount / seconds : 0);
    return {
      namesPerSecond: perSecond(newest.names - oldest.names),
      bytesPerSecond: perSecond(newest.readBytes - oldest.readBytes),
    };
  };
}

function createEstimate(): (event: ProgressEvent) => number | undefined {
  let done = 0;
  let doneAtMs = 0;
  let meanMs: number | undefined;
  return ({ elapsedMs, snapshotsDone, snapshotsTotal }) => {
    if (snapshotsDone > done) {
      const eachMs = (elapsedMs - doneAtMs) / (snapshotsDone - done);
      meanMs = meanMs === undefined ? eachMs : newestWeight * eachMs + (1 - newestWeight) * meanMs;
      done = snapshotsDone;
      doneAtMs = elapsedMs;
    }
    const left = snapshotsTotal - snapshotsDone;
    if (meanMs === undefined || left <= 0) return undefined;
    return meanMs * (left - 1) + Math.max(0, meanMs - (elapsedMs - doneAtMs));
  };
}
