import { DedupeError, usageError } from "../errors.ts";
import type { FilterArgument } from "../options.ts";
import { SysError } from "../sys/errors.ts";
import { readNamedFile, readStandardInput, type Kernel } from "../sys/files.ts";
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
  try {
    return name === "-" ? readStandardInput(kernel) : readNamedFile(kernel, Buffer.from(name));
  } catch (cause) {
    if (!(cause instanceof SysError)) throw cause;
    if (cause.code === "ENOENT")
      throw usageError(`the filter file ${name} does not exist`, "Check the spelling.");
    throw new DedupeError("FILTER_FILE", `the filter file ${name} cannot be read: ${cause.message}`, {
      exitCode: "usage",
      cause,
    });
  }
}
