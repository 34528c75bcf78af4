import { isSysError } from "../sys/errors.ts";
import { openDirectory, readFile, writeFileDurably } from "../sys/files.ts";
import type { VerifyRun } from "./verify-run.ts";
import type { ReadStore } from "./verify-target.ts";

const NAME = "verify-slices.json";

type Slice = { number: number; of: number };
/** When each slice was last read to its end, by its number; of one division of the store. */
type SliceRecord = { of: number; done: Record<string, string> };

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
