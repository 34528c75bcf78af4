/** The options of `dedupe relink`: the table for the parser and the help, and what was typed -> the validated type. */
import { usageError } from "../errors.ts";
import type { RelinkOptions } from "../options.ts";
import {
  applyTyped,
  checkOutput,
  checkSizes,
  longName,
  mergingDefaults,
  outputDefaults,
  runningDefaults,
  type TypedOption,
} from "./common.ts";
import { merging, output, running, selection, timeLimit, type OptionSpec } from "./shared-specs.ts";
import { given } from "./values.ts";

const own: OptionSpec<RelinkOptions>[] = [
  {
    flags: "--undo",
    help: "put back the attributes that --ignore-time and the like took from names in earlier runs",
    group: "Running:",
    apply: (options) => (options.undo = true),
  },
  {
    flags: "--full",
    help: "read every file, also those that cannot have an equal",
    group: "Running:",
    apply: (options) => (options.full = true),
  },
  timeLimit,
];

export const relinkOptionSpecs: readonly OptionSpec<RelinkOptions>[] = [
  ...selection,
  ...merging.filter(({ flags }) => longName(flags) !== "merge"),
  ...running,
  ...own,
  ...output,
];

export function relinkOptions(typed: readonly TypedOption[], root: string): RelinkOptions {
  const options: RelinkOptions = {
    command: "relink",
    root: given(root, "<root>"),
    ...mergingDefaults(),
    ...runningDefaults(),
    ...outputDefaults,
    full: false,
    undo: false,
    timeLimitMs: undefined,
  };
  applyTyped(options, typed, relinkOptionSpecs);
  checkSizes(options);
  if (options.undo && !undoable(typed)) {
    throw usageError("--undo puts back all that was discarded: it takes no options of selection or merging");
  }
  checkOutput(options);
  return options;
}

/** Only how it runs and what it prints may be chosen. */
function undoable(typed: readonly TypedOption[]): boolean {
  const others = new Set([...selection, ...merging].map(({ flags }) => longName(flags)));
  return typed.every(({ name }) => !others.has(name) && name !== "full" && name !== "bwlimit");
}
