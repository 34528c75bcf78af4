import { Writable } from "node:stream";
import { zeroCounters } from "../../src/report/events.ts";
import type {
  CompactSummary,
  Counters,
  Event,
  StatsSummary,
  Summary,
  VerifySummary,
} from "../../src/report/events.ts";
import type { ProgressEvent } from "../../src/report/pace.ts";

export type SampleStream = Writable & { isTTY: boolean; columns: number; text: () => string };

/** A stream that keeps what is written to it. */
export function sampleStream({ isTTY = false, columns = 100 } = {}): SampleStream {
  const chunks: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  return Object.assign(stream, { isTTY, columns, text: () => chunks.join("") });
}

export function sampleCounters(counters: Partial<Counters> = {}): Counters {
  return {
    ...zeroCounters(),
    names: 5_012_345,
    directories: 12_345,
    inodes: 123_456,
    contentBytes: 12_300_000_000,
    plainCopyBytes: 369_000_000_000,
    readBytes: 12_300_000_000,
    writtenBytes: 11_800_000_000,
    createdInodes: 110_000,
    linkedNames: 4_890_000,
    mergedInodes: 13_456,
    mergedBytes: 500_000_000,
    ...counters,
  };
}

export function sampleProgress(event: Partial<ProgressEvent> = {}): ProgressEvent {
  return {
    type: "progress",
    counters: sampleCounters(),
    snapshotsDone: 2,
    snapshotsTotal: 30,
    snapshot: Buffer.from("daily.2"),
    elapsedMs: 60_000,
    ...event,
  };
}

export function sampleSummary(summary: Partial<Summary> = {}): Summary {
  return {
    type: "summary",
    command: "migrate",
    ...sampleCounters(),
    outcome: "complete",
    exitCode: 0,
    dryRun: false,
    source: "/mnt/old",
    target: "/mnt/new",
    snapshots: { total: 30, new: 30, updated: 0, unchanged: 0, incomplete: 0, pending: 0 },
    linkLimit: 0,
    elapsedMs: 723_000,
    peakRssAnonBytes: 90_000_000,
    heldDeletes: 0,
    approximate: false,
    ...summary,
  };
}

export function sampleVerifySummary(summary: Partial<VerifySummary> = {}): VerifySummary {
  return {
    type: "summary",
    command: "verify",
    mode: "against",
    outcome: "sound",
    exitCode: 0,
    target: "/mnt/new",
    source: "/mnt/old",
    names: 5_012_345,
    targetNames: 5_012_345,
    directories: 12_345,
    inodes: 123_456,
    targetInodes: 110_000,
    contentBytes: 12_300_000_000,
    readBytes: 23_900_000_000,
    mergedInodes: 13_456,
    objects: 0,
    unnamedObjects: 0,
    knownNames: 0,
    affectedNames: 0,
    failures: 0,
    findings: {},
    notes: {},
    quick: false,
    slice: { number: 1, of: 30 },
    rootDigest: { source: "ab", target: "ab" },
    certificate: "/mnt/new/.dedupe/log/verify.json",
    elapsedMs: 723_000,
    peakRssAnonBytes: 90_000_000,
    ...summary,
  };
}

export function sampleCompactSummary(summary: Partial<CompactSummary> = {}): CompactSummary {
  return {
    type: "summary",
    command: "compact",
    outcome: "complete",
    exitCode: 0,
    dryRun: false,
    target: "/mnt/new",
    detached: false,
    steps: ["sweep", "adopt", "refile", "prune", "fold", "index"],
    timeLimit: false,
    names: 5_012_345,
    directories: 12_345,
    objects: 110_000,
    holders: 12,
    readBytes: 123_000_000,
    freedBytes: 456_000_000,
    findings: {},
    affectedNames: 0,
    leftAlone: 0,
    failures: 0,
    sweep: { leftovers: 1, unfinished: 0 },
    adopt: {
      inodes: 1234,
      bytes: 123_000_000,
      objects: 1200,
      linkedNames: 34,
      mergedInodes: 34,
      freedBytes: 6_000_000,
      siblings: 0,
    },
    refile: { objects: 5 },
    prune: { objects: 678, holders: 1, freedBytes: 450_000_000 },
    fold: { siblings: 0 },
    index: { unknown: 7, rows: 220_000, droppedRows: 679, bytesBefore: 40_000_000, bytesAfter: 30_000_000 },
    elapsedMs: 12_000,
    peakRssAnonBytes: 90_000_000,
    ...summary,
  };
}

export function sampleStart(start: { dryRun?: boolean } = {}): Event {
  return {
    type: "start",
    command: "migrate",
    version: "0.1.0",
    source: "/mnt/old",
    target: "/mnt/new",
    jobs: 2,
    dryRun: false,
    ...start,
  };
}

export function sampleFailure(path: string, code = "EACCES"): Event {
  return { type: "failure", path: Buffer.from(path), code, message: "permission denied" };
}

export function sampleStatsSummary(summary: Partial<StatsSummary> = {}): StatsSummary {
  return {
    type: "summary",
    command: "stats",
    outcome: "complete",
    exitCode: 0,
    target: "/mnt/new",
    snapshots: 30,
    names: 157_744,
    directories: 12_345,
    inodes: 9_700,
    bytes: 300_000_000,
    contentBytes: 250_000_000,
    plainBytes: 3_000_000_000,
    aloneBytes: 40_000_000,
    store: "read",
    objects: 9_500,
    siblings: 0,
    unnamedObjects: 12,
    unnamedBytes: 34_000_000,
    storeBytes: 3_000_000,
    elsewhereInodes: 0,
    elsewhereBytes: 0,
    twiceInodes: 0,
    index: "read",
    indexedInodes: 9_600,
    mergedInodes: 100,
    mergedBytes: 1_000_000,
    ifDeleted: { sets: ["daily.20..daily.29"], snapshots: 10, names: 52_000, inodes: 700, bytes: 20_000_000 },
    linkLimit: 65_000,
    mostLinks: 900,
    nearLimitInodes: 0,
    brokenChains: 0,
    failures: 0,
    elapsedMs: 1_200,
    peakRssAnonBytes: 90_000_000,
    ...summary,
  };
}
