/** Chooses who listens: a person or a script on stdout, a bar or plain lines, and the log file. */
import { createCsvReporter } from "./csv.ts";
import { errorLines } from "./event-lines.ts";
import type { Event, Reporter } from "./events.ts";
import { createHumanReporter } from "./human.ts";
import { createJsonReporter, isProgress, type JsonVerbosity } from "./json.ts";
import { openLogFile } from "./log-file.ts";
import { createBar, createPlainProgress, type Progress } from "./progress.ts";
import { createScreen, drain, type Screen, type Stream, type Streams } from "./screen.ts";

/** What the user wants to see and where; the output part of every command's options has this shape. */
export type ReporterOptions = {
  json: boolean;
  /** Of stats: rows of comma-separated values. */
  csv?: boolean;
  /** "auto": a bar or a line a minute, but not with `json` or `quiet`. */
  progress: "auto" | "on" | "off";
  quiet: boolean;
  verbose: boolean;
  logFile: string | undefined;
};

/** Throws the system's error if the log file cannot be opened. */
export function openReporter(options: ReporterOptions, streams: Streams = process): Reporter {
  const log = options.logFile === undefined ? [] : [openLogFile(options.logFile)];
  const bar = wantsProgress(options) && canDraw(streams.stderr) ? createBar(streams.stderr) : undefined;
  const screen = createScreen(streams, bar);
  const progress = wantsProgress(options) ? (bar ?? plainProgress(options, screen)) : undefined;
  const view = options.json ? scriptView : options.csv === true ? tableView : personView;
  const listeners = [...log, view(options, screen, progress)];
  return {
    emit(event) {
      for (const listener of listeners) listener.emit(event);
    },
    async close() {
      const results = await Promise.allSettled(listeners.map((listener) => listener.close()));
      await drain(streams);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    },
  };
}

/** --json, --csv and -q have no progress unless it is asked for. */
function wantsProgress({ progress, json, csv, quiet }: ReporterOptions): boolean {
  return progress === "on" || (progress === "auto" && !json && csv !== true && !quiet);
}

function canDraw(stream: Stream): boolean {
  return stream.isTTY === true && process.env["TERM"] !== "dumb";
}

/** stdout belongs to the events under --json, to the rows under --csv, and to nothing under -q. */
function plainProgress({ json, csv, quiet }: ReporterOptions, screen: Screen): Progress {
  const write = json || csv === true || quiet ? screen.err : screen.out;
  return createPlainProgress((line) => {
    write(`${line}\n`);
  });
}

function personView(options: ReporterOptions, screen: Screen, progress: Progress | undefined): Reporter {
  const { quiet, verbose, logFile } = options;
  return createHumanReporter({ screen, progress, quiet, verbose, logFile });
}

/** Rows on stdout, and what -q leaves of the rest on stderr. */
function tableView(options: ReporterOptions, screen: Screen, progress: Progress | undefined): Reporter {
  return createCsvReporter(screen.out, personView({ ...options, quiet: true }, screen, progress));
}

function scriptView(options: ReporterOptions, screen: Screen, progress: Progress | undefined): Reporter {
  const json = createJsonReporter(screen.out, verbosityOf(options));
  return {
    emit(event) {
      if (isProgress(event)) progress?.update(event);
      if (event.type === "summary" || event.type === "error") progress?.stop();
      json.emit(event);
      for (const line of errorOf(event)) screen.err(`${line}\n`);
    },
    close() {
      progress?.stop();
      return json.close();
    },
  };
}

function verbosityOf({ quiet, verbose, progress }: ReporterOptions): JsonVerbosity {
  return { entries: verbose, progress: progress !== "off", errorsOnly: quiet };
}

/** What ended the run is said on stderr too: that is where cron and people look. */
function errorOf(event: Event): string[] {
  if (event.type === "error" && event.code !== "bug") return errorLines(event);
  return event.type === "summary" && event.error !== undefined ? errorLines(event.error) : [];
}
