import type { StatsOptions } from "../options.ts";
import type { CommandContext } from "./context.ts";
import { preflightRefusal } from "./preflight.ts";
import { openStats } from "./stats-run.ts";
import { figuresOf, tellFigures } from "./stats-figures.ts";
import { summariseStats } from "./stats-summary.ts";

/**
 * `dedupe stats`: what each snapshot holds alone, and what would be freed. Nothing is written to the target.
 * @returns the exit code. @throws DedupeError before anything was counted
 */
export async function stats(options: StatsOptions, context: CommandContext): Promise<number> {
  const run = await openStats(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, `the target ${options.target}`);
  });
  try {
    const ending = await figuresOf(run);
    if (ending.type === "finished") tellFigures(run, ending);
    const summary = summariseStats(run, ending);
    context.reporter.emit(summary);
    return summary.exitCode;
  } finally {
    await run.close();
  }
}
