/** `--rsnapshot-conf`, for the tables of the commands that can work under rsnapshot's lock. */
import { usageError } from "../errors.ts";
import type { RsnapshotOptions } from "../options.ts";
import { given } from "./values.ts";

export const rsnapshotConfSpec = {
  flags: "--rsnapshot-conf <file>",
  help: "hold the lock of rsnapshot meanwhile, as this configuration of it says; <target> is its snapshot_root unless given",
  group: "Running:",
  apply: (options: RsnapshotOptions, value: string): string =>
    (options.rsnapshotConf = given(value, "--rsnapshot-conf")),
} as const;

/** One of both says what the target is. */
export function checkTarget({ target, rsnapshotConf }: RsnapshotOptions): void {
  if (target !== undefined) given(target, "<target>");
  else if (rsnapshotConf === undefined) throw usageError("missing required argument 'target'");
}
