/** Everything that is reported, with all failures, appended to a file. The one file that a reporter writes. */
import { closeSync, openSync, writeSync } from "node:fs";
import { closingReport } from "./closing-report.ts";
import { errorLines, eventLine } from "./event-lines.ts";
import type { Event, Reporter } from "./events.ts";
import { formatBytes } from "./format.ts";
import { createLineBuffer } from "./line-buffer.ts";
import { createPlainProgress } from "./progress.ts";
import { countReason, type ReasonCounts } from "./reasons.ts";

/** Names and reasons of what could not be read are nobody else's business. */
const logMode = 0o600;

type Print = (line: string) => void;

/** Throws the system's error if the file cannot be opened; `close` rejects if it could not be written to the end. */
export function openLogFile(path: string, now: () => Date = () => new Date()): Reporter {
  const file = createFileWriter(path);
  const lines = createLineBuffer(file.write);
  const log = createLog((line) => {
    lines.add(`${now().toISOString()} ${line}`);
  });
  return {
    emit(event) {
      log(event);
      // Progress comes several times a second, so a line waits no longer than that.
      if (!manyLines.has(event.type)) lines.flush();
    },
    close() {
      lines.flush();
      return file.close();
    },
  };
}

/** Events that may come by the million: they are written with what follows. */
const manyLines: ReadonlySet<Event["type"]> = new Set([
  "entry",
  "failure",
  "finding",
  "affected",
  "repaired",
  "unrepaired",
  "holding",
]);

type FileWriter = { write: (text: string) => void; close: () => Promise<void> };

/** A disk that fills up under the log ends the log, not the run. */
function createFileWriter(path: string): FileWriter {
  const descriptor = openSync(path, "a", logMode);
  let failure: Error | undefined;
  return {
    write(text) {
      if (failure !== undefined) return;
      try {
        writeAll(descriptor, Buffer.from(text));
      } catch (error) {
        failure = error as Error;
      }
    },
    close() {
      closeSync(descriptor);
      return failure === undefined ? Promise.resolve() : Promise.reject(failure);
    },
  };
}

function writeAll(descriptor: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done);
}

type Told = "progress" | "relink-progress" | "compact-progress" | "error" | "summary" | "start";

const told: ReadonlySet<Event["type"]> = new Set<Told>([
  "progress",
  "relink-progress",
  "compact-progress",
  "error",
  "summary",
  "start",
]);

/** Events that are one line each. */
function isLine(event: Event): event is Exclude<Event, { type: Told }> {
  return !told.has(event.type);
}

function createLog(print: Print): (event: Event) => void {
  const progress = createPlainProgress(print);
  const reasons = new Map<string, number>();
  let dryRun = false;
  return (event) => {
    if (isLine(event)) {
      if (event.type === "failure") countReason(reasons, event.code);
      print(eventLine(event, dryRun));
      return;
    }
    switch (event.type) {
      case "progress":
      case "relink-progress":
      case "compact-progress":
        progress.update(event);
        break;
      case "error":
        errorLines(event).forEach(print);
        break;
      case "summary":
        closingLines(event, reasons).forEach(print);
        break;
      case "start":
        dryRun = event.dryRun;
        print(`dedupe ${event.version}: ${eventLine(event, dryRun)}`);
    }
  };
}

function closingLines(summary: Extract<Event, { type: "summary" }>, reasons: ReasonCounts): string[] {
  return [
    ...(summary.error === undefined ? [] : errorLines(summary.error)),
    ...closingReport(summary, reasons).filter(isNotEmpty),
    `exit code ${summary.exitCode}, peak memory ${formatBytes(summary.peakRssAnonBytes)}`,
  ];
}

function isNotEmpty(line: string): boolean {
  return line !== "";
}
