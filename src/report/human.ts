/** Events -> lines for a person. */
import { closingReport, headline } from "./closing-report.ts";
import { createFindingList, isListed } from "./finding-list.ts";
import { type ErrorText, errorLines, eventLine } from "./event-lines.ts";
import type { Event, Reporter } from "./events.ts";
import { formatCount, formatText } from "./format.ts";
import { isProgress } from "./json.ts";
import { createLineBuffer } from "./line-buffer.ts";
import type { Progress } from "./progress.ts";
import { countReason, type ReasonCounts } from "./reasons.ts";
import type { Screen } from "./screen.ts";
import { createStatsTable, isStatsRow, type StatsRow, type StatsTable } from "./stats-table.ts";

type Of<T extends Event["type"]> = Extract<Event, { type: T }>;

export type HumanView = {
  screen: Screen;
  progress: Progress | undefined;
  /** Nothing but errors. */
  quiet: boolean;
  /** One line a name. */
  verbose: boolean;
  logFile: string | undefined;
};

type Print = (line: string) => void;

const shownFailures = 20;

export function createHumanReporter(view: HumanView): Reporter {
  const entries = createLineBuffer((text) => {
    view.screen.out(text);
  });
  const rows = createStatsTable();
  const show = createShow(view, rows);
  const findings = createFindingList(view.quiet, (line) => {
    view.screen.err(`${line}\n`);
  });
  return {
    emit(event) {
      if (event.type === "entry") {
        if (view.verbose) entries.add(eventLine(event, false));
        return;
      }
      entries.flush();
      if (isListed(event)) findings.add(event);
      else if (isStatsRow(event)) rows.add(event);
      else show(event);
    },
    close() {
      entries.flush();
      view.progress?.stop();
      return Promise.resolve();
    },
  };
}

type Shown = Exclude<
  Event,
  { type: "entry" | "finding" | "affected" | "repaired" | "unrepaired" } | StatsRow
>;

function createShow(view: HumanView, rows: StatsTable): (event: Shown) => void {
  const err: Print = (line) => {
    view.screen.err(`${line}\n`);
  };
  const out: Print = (line) => {
    if (!view.quiet) view.screen.out(`${line}\n`);
  };
  const failures = createFailureList(err);
  let dryRun = false;
  return (event) => {
    if (event.type === "error" || event.type === "summary") view.progress?.stop();
    if (event.type === "start") dryRun = event.dryRun;
    if (isProgress(event)) return view.progress?.update(event);
    switch (event.type) {
      case "failure":
        failures.add(event);
        break;
      case "notice":
        (event.level === "info" || view.quiet ? out : err)(eventLine(event, dryRun));
        break;
      case "error":
        // The composition root prints a bug, with its stack.
        if (event.code !== "bug") errorLines(event).forEach(err);
        break;
      case "summary":
        failures.close(view.logFile);
        [...rows.lines(), ...closingReport(event, failures.reasons)].forEach(out);
        closingErrors(event, view.quiet).forEach(err);
        break;
      case "start":
      case "plan":
      case "snapshot":
      case "loose":
      case "relinked":
      case "compact-plan":
        out(eventLine(event, dryRun));
    }
  };
}

type FailureList = {
  add(failure: Of<"failure">): void;
  /** Says how many were not shown, if any. */
  close(logFile: string | undefined): void;
  reasons: ReasonCounts;
};

function createFailureList(err: Print): FailureList {
  const reasons = new Map<string, number>();
  let count = 0;
  return {
    reasons,
    add(failure) {
      count += 1;
      countReason(reasons, failure.code);
      if (count <= shownFailures) err(eventLine(failure, false));
      if (count === shownFailures + 1) err("… further failures are counted, not shown");
    },
    close(logFile) {
      if (count <= shownFailures) return;
      const where = logFile === undefined ? "see --log-file" : `all are in ${formatText(logFile)}`;
      err(`… and ${formatCount(count - shownFailures)} more (${where})`);
    },
  };
}

const wentWell: ReadonlySet<string> = new Set(["complete", "sound", "repaired"]);

/** What -q must say too: the error that ended the run, or that not all went well. */
function closingErrors(summary: Of<"summary">, quiet: boolean): string[] {
  const error: ErrorText | undefined = summary.error;
  if (error !== undefined) return errorLines(error);
  if (!quiet || wentWell.has(summary.outcome)) return [];
  return [`dedupe: ${headline(summary).replace(/^./, (letter) => letter.toLowerCase())}`];
}
