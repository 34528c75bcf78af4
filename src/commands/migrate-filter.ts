import { DedupeError, usageError } from "../errors.ts";
import type { FilterArgument } from "../options.ts";
import { AT_FDCWD } from "../sys/constants.ts";
import { SysError } from "../sys/errors.ts";
import { readFile, type Kernel } from "../sys/files.ts";
import { FilterSyntaxError, parseFilter, type FilterRules, type RuleSource } from "../tree/filter.ts";

/** Reads and compiles the filter rules of the command line; undefined where there are none. @throws DedupeError (usage) */
export function collectFilter(kernel: Kernel, filters: readonly FilterArgument[]): FilterRules | undefined {
  if (filters.length === 0) return undefined;
  const read = (name: string): Buffer => readRuleFile(kernel, name);
  const sources = filters.map((argument): RuleSource => {
    if ("file" in argument)
      return { type: argument.type, contents: read(argument.file), origin: argument.file };
    return { ...argument, origin: `--${argument.type}` };
  });
  try {
    const filter = parseFilter(sources, read);
    return filter.isEmpty ? undefined : filter.rules;
  } catch (error) {
    if (error instanceof FilterSyntaxError)
      throw usageError(error.message, "The rules are rsync's: see FILTER RULES in its manual.");
    throw error;
  }
}

function readRuleFile(kernel: Kernel, name: string): Buffer {
  if (name === "-") throw usageError("filter rules cannot be read from standard input", "Name a file.");
  try {
    const content = readFile(kernel, AT_FDCWD, name);
    if (content !== undefined) return content;
  } catch (cause) {
    if (!(cause instanceof SysError)) throw cause;
    throw new DedupeError("FILTER_FILE", `the filter file ${name} cannot be read: ${cause.message}`, {
      exitCode: "usage",
      cause,
    });
  }
  throw usageError(`the filter file ${name} does not exist`, "Check the spelling.");
}
