import { isSysError } from "../sys/errors.ts";
import { openDirectory, readFile, writeFileDurably } from "../sys/files.ts";
import type { VerifyRun } from "./verify-run.ts";
import type { ReadStore } from "./verify-target.ts";

const NAME = "verify-slices.json";

type Slice = { number: number; of: number };
/** When each slice was last read to its end, by its number; of one division of the store. */
type SliceRecord = { of: number; done: Record<string, string> };

/** The slice as asked for; of "next" the first that was never read, else the one that was read longest ago. */
export function chosenSlice(
  run: VerifyRun,
  store: ReadStore,
  slice: { number: number | "next"; of: number } | undefined,
): Slice | undefined {
  if (slice === undefined) return undefined;
  const { number, of } = slice;
  if (number !== "next") return { number, of };
  const done = readRecord(run, store, of);
  const times = Array.from({ length: of }, (_, at) => done[at + 1] ?? "");
  const oldest = times.reduce((a, b) => (a <= b ? a : b));
  return { number: times.indexOf(oldest) + 1, of };
}

/** A record that cannot be read says nothing. */
function readRecord({ kernel }: VerifyRun, { fd }: ReadStore, of: number): Record<string, string> {
  try {
    const logFd = openDirectory(kernel, fd, "log");
    try {
      return parse(readFile(kernel, logFd, NAME), of);
    } finally {
      kernel.sys.close(logFd);
    }
  } catch (error) {
    if (!isSysError(error)) throw error;
    return {};
  }
}

/** Remembers that the slice was read, where the medium lets it, and says how far the round is. */
export function recordSlice(run: VerifyRun, store: ReadStore, slice: Slice): void {
  const { reporter } = run.context;
  const tell = (level: "info" | "warning", code: string, message: string): void => {
    reporter.emit({ type: "notice", level, code, message });
  };
  try {
    const logFd = openDirectory(run.writer, store.fd, "log");
    const before: Record<string, string> = parse(readFile(run.kernel, logFd, NAME), slice.of);
    const done: Record<string, string> = { ...before, [slice.number]: run.startedAt.toISOString() };
    const record: SliceRecord = { of: slice.of, done };
    writeFileDurably(run.writer, logFd, NAME, Buffer.from(`${JSON.stringify(record, null, 2)}\n`));
    run.writer.sys.close(logFd);
    const count = Object.keys(done).length;
    const oldest = Object.values(done).reduce((a, b) => (a < b ? a : b));
    const rest = count === slice.of ? `the oldest was read on ${oldest}` : "the others are still to come";
    tell("info", "SLICES", `${String(count)} of ${String(slice.of)} parts have been read; ${rest}`);
  } catch (error) {
    if (!isSysError(error)) throw error;
    tell("warning", "SLICE_NOT_RECORDED", `that this part was read could not be recorded: ${error.message}`);
  }
}

/** A record of another division, or a damaged one, says nothing. */
function parse(content: Buffer | undefined, of: number): Record<string, string> {
  try {
    const value = JSON.parse(content?.toString() ?? "null") as SliceRecord | null;
    return value !== null && value.of === of && typeof value.done === "object" ? value.done : {};
  } catch {
    return {};
  }
}
