/** Rows of `dedupe stats` as comma-separated values (RFC 4180), one for each snapshot and one for all. */
import type { Event, Reporter } from "./events.ts";
import { formatPath } from "./format.ts";

type Holding = Extract<Event, { type: "holding" }>;

const columns = [
  ["kind", ({ kind }) => kind],
  ["path", ({ path }) => formatPath(path)],
  ["names", ({ names }) => String(names)],
  ["directories", ({ directories }) => String(directories)],
  ["inodes", ({ inodes }) => String(inodes)],
  ["bytes", ({ bytes }) => String(bytes)],
  ["alone_bytes", ({ aloneBytes }) => String(aloneBytes)],
  ["shared_bytes", ({ sharedBytes }) => String(sharedBytes)],
  ["alone_inodes", ({ aloneInodes }) => String(aloneInodes)],
  ["plain_bytes", ({ plainBytes }) => String(plainBytes)],
  ["if_deleted", ({ isInSet }) => String(Number(isInSet))],
] as const satisfies readonly (readonly [string, (holding: Holding) => string])[];

/** `write` takes whole lines; `errors` hears everything, for stderr. */
export function createCsvReporter(write: (text: string) => void, errors: Reporter): Reporter {
  let isBegun = false;
  return {
    emit(event) {
      if (event.type === "holding") {
        if (!isBegun) write(line(columns.map(([name]) => name)));
        isBegun = true;
        write(line(columns.map(([, value]) => value(event))));
      } else errors.emit(event);
    },
    close: () => errors.close(),
  };
}

function line(fields: readonly string[]): string {
  return `${fields.map(quoted).join(",")}\r\n`;
}

const quoted = (field: string): string =>
  /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
