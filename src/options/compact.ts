/** The options of `dedupe compact`: the table for the parser and the help, and what was typed -> the validated type. */
import { usageError } from "../errors.ts";
import type { CompactOptions } from "../options.ts";
import { applyTyped, checkOutput, outputDefaults, runningDefaults, type TypedOption } from "./common.ts";
import { output, running, timeLimit, type OptionSpec } from "./shared-specs.ts";
import { checkTarget, rsnapshotConfSpec } from "./rsnapshot.ts";

/** In the order in which reports name them. */
const steps = ["sweep", "adopt", "refile", "prune", "fold", "index"] as const;

const care: OptionSpec<CompactOptions>[] = [
  {
    flags: "--steps <list>",
    help: `only these of ${steps.join(",")} (default: all)`,
    group: "Care:",
    apply: (options, value) => (options.steps = parseSteps(value)),
  },
  {
    flags: "--forget-unfinished",
    help: "remove also what a migration has begun and would go on with",
    group: "Care:",
    apply: (options) => (options.forgetUnfinished = true),
  },
  {
    flags: "--detach",
    help: "take the store away and leave the snapshots as they are",
    group: "Care:",
    apply: (options) => (options.detach = true),
  },
];

const own: OptionSpec<CompactOptions>[] = [
  timeLimit,
  {
    flags: "--priority <idle|normal>",
    help: "let all other work on the machine go first (idle, the default), or not",
    group: "Running:",
    apply: (options, value) => (options.priority = parsePriority(value)),
  },
];

export const compactOptionSpecs: readonly OptionSpec<CompactOptions>[] = [
  ...care,
  ...running,
  ...own,
  rsnapshotConfSpec,
  ...output,
];

function parseSteps(text: string): CompactOptions["steps"] {
  const wanted = text.split(",").map((name) => name.trim());
  const unknown = wanted.find((name) => !steps.some((step) => step === name));
  if (unknown !== undefined)
    throw usageError(`--steps takes some of ${steps.join(", ")}, separated by commas, not '${unknown}'`);
  return steps.filter((step) => wanted.includes(step));
}

function parsePriority(text: string): CompactOptions["priority"] {
  if (text === "idle" || text === "normal") return text;
  throw usageError(`--priority takes idle or normal, not '${text}'`);
}

export function compactOptions(typed: readonly TypedOption[], target: string | undefined): CompactOptions {
  const options: CompactOptions = {
    command: "compact",
    target,
    rsnapshotConf: undefined,
    ...runningDefaults(),
    ...outputDefaults,
    steps: [...steps],
    detach: false,
    forgetUnfinished: false,
    priority: "idle",
    timeLimitMs: undefined,
  };
  applyTyped(options, typed, compactOptionSpecs);
  checkTarget(options);
  checkOutput(options);
  if (options.detach && typed.some(({ name }) => name === "steps"))
    throw usageError("--detach and --steps contradict each other: the whole store goes");
  if (options.detach && options.timeLimitMs !== undefined)
    throw usageError("--detach takes no --time-limit: a store that is gone in part is of no use");
  if (options.forgetUnfinished && !options.detach && !options.steps.includes("sweep"))
    throw usageError("--forget-unfinished belongs to the step sweep, which --steps leaves out");
  return options;
}
