/** The composition root: argv, signals, output streams and exit codes meet here, and nowhere else. */
import { createRequire } from "node:module";
import { checkPlatform, parseCommandLine } from "./cli/command-line.ts";
import type { CommandContext, StopReason, StopSignal } from "./commands/context.ts";
import { DedupeError } from "./errors.ts";
import { exitCodes, signalExitCodes } from "./exit-codes.ts";
import type { CommandOptions } from "./options.ts";
import { errorLines } from "./report/event-lines.ts";
import type { Reporter } from "./report/events.ts";
import { openReporter } from "./report/reporter.ts";

/** Where tests put other parts in; the installed program gives none. */
export type Wiring = { sysModule?: URL };

/** How long a failed run may take to wind down: a worker that hangs must not keep the exit code back for ever. */
const windDownMs = 10_000;

export async function main(argv: string[], wiring: Wiring = {}): Promise<void> {
  const output = watchOutput();
  process.on("uncaughtException", (error) => process.exit(printThrown(error)));
  try {
    const version = readVersion();
    const print = (text: string): void => void process.stdout.write(text);
    const options = parseCommandLine({ argv, version, print, helpColumns: process.stdout.columns });
    process.exitCode = options === undefined ? exitCodes.ok.code : await run(options, { version, ...wiring });
  } catch (error) {
    process.exitCode = printThrown(error);
  }
  output.settle();
}

async function run(options: CommandOptions, wiring: Wiring & { version: string }): Promise<number> {
  checkPlatform(process.platform, process.arch);
  if (options.command !== "stats") {
    const { refuseInside } = await import("./commands/refuse-inside.ts");
    await refuseInside(options, wiring.sysModule);
  }
  const reporter = open(options);
  const signals = listenForSignals(reporter);
  const { sysModule, version } = wiring;
  const context = { reporter, stop: signals.stop, sysModule, version, atExit };
  const code = await command(options, context).catch((error: unknown) => failedCode(error, reporter));
  signals.forget();
  return closedCode(code, reporter, options);
}

/** Tells every listener of what was thrown; the stack of a bug goes to stderr. */
function failedCode(error: unknown, reporter: Reporter): number {
  reporter.emit(errorEvent(error));
  setTimeout(() => process.exit(), windDownMs).unref();
  return error instanceof DedupeError ? exitCodes[error.exitCode].code : printThrown(error);
}

/** A log that could not be written to its end is never exit 0, but hides no other code. */
async function closedCode(code: number, reporter: Reporter, { logFile }: CommandOptions): Promise<number> {
  try {
    await reporter.close();
    return code;
  } catch (cause) {
    const message = `the log file ${logFile} is incomplete: ${reasonOf(cause)}`;
    const closing = printThrown(
      new DedupeError("log-file", message, { hint: "The run itself is not affected.", cause }),
    );
    return code === exitCodes.ok.code ? closing : code;
  }
}

/** Loaded here so that --help and a wrong option need neither koffi nor LMDB. */
async function command(options: CommandOptions, context: CommandContext): Promise<number> {
  switch (options.command) {
    case "migrate":
      return (await import("./commands/migrate.ts")).migrate(options, context);
    case "compact":
      process.on("SIGIO", () => undefined);
      return (await import("./commands/compact.ts")).compact(options, context);
    case "relink":
      // The kernel tells the holder of a lease by this signal that someone waits; the lease is brief, and unhandled it kills.
      process.on("SIGIO", () => undefined);
      return (await import("./commands/relink.ts")).relink(options, context);
    case "verify":
      return (await import("./commands/verify.ts")).verify(options, context);
    case "stats":
      return (await import("./commands/stats.ts")).stats(options, context);
  }
}

/** The first signal asks for a stop at the next safe point, the second one does not ask. */
function listenForSignals(reporter: Reporter): { stop: AbortSignal; forget(): void } {
  const controller = new AbortController();
  const listeners = Object.entries(signalExitCodes).map(([name, code]) => {
    const signal = name as StopSignal;
    const listener = (): void => {
      if (controller.signal.aborted) exitAtOnce(code);
      const message = `${signal}: stopping at the next safe point; a second signal stops at once`;
      reporter.emit({ type: "notice", level: "info", code: "stopping", message });
      controller.abort({ signal } satisfies StopReason);
    };
    process.on(signal, listener);
    return [signal, listener] as const;
  });
  return {
    stop: controller.signal,
    forget: () => {
      listeners.forEach(([signal, listener]) => process.off(signal, listener));
    },
  };
}

/** A second signal, and a bug, end the process without a word to the command. */
function atExit(cleanup: () => void): () => void {
  process.once("exit", cleanup);
  return () => {
    process.off("exit", cleanup);
    cleanup();
  };
}

/** Leaves the shell's prompt a line of its own, below a bar that nobody takes down any more. */
function exitAtOnce(code: number): never {
  if (process.stderr.isTTY) process.stderr.write("\n");
  process.exit(code);
}

/**
 * A reader that left (EPIPE, or EIO of a terminal that closed) is no reason to stop a migration. Output that could
 * not be written for another reason is never exit 0: a script would take half a report for a whole one.
 */
function watchOutput(): { settle(): void } {
  let failure: NodeJS.ErrnoException | undefined;
  const onError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE" && error.code !== "EIO") failure ??= error;
  };
  process.stdout.on("error", onError);
  process.stderr.on("error", onError);
  const settle = (): void => {
    if (failure !== undefined && process.exitCode === exitCodes.ok.code)
      process.exitCode = exitCodes.failed.code;
  };
  process.once("beforeExit", settle);
  return { settle };
}

function open(options: CommandOptions): Reporter {
  try {
    return openReporter(options);
  } catch (cause) {
    throw new DedupeError(
      "log-file",
      `the log file ${options.logFile} cannot be opened: ${systemReasonOf(cause)}`,
      {
        hint: "Name a file in a directory that this user may write.",
        exitCode: "usage",
        cause,
      },
    );
  }
}

/** "no such file or directory" of Node's "ENOENT: no such file or directory, open 'x'". */
function systemReasonOf(error: unknown): string {
  return /^E\w+: (.+), \w+(?: '.*')?$/s.exec(reasonOf(error))?.[1] ?? reasonOf(error);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function errorEvent(error: unknown): Parameters<Reporter["emit"]>[0] {
  if (!(error instanceof DedupeError)) {
    return {
      type: "error",
      code: "bug",
      message: `a bug: ${reasonOf(error)}`,
      exitCode: exitCodes.failed.code,
    };
  }
  const { code, message, hint } = error;
  const exitCode = exitCodes[error.exitCode].code;
  return { type: "error", code, message, ...(hint === undefined ? {} : { hint }), exitCode };
}

/** Prints what no reporter could, and returns the exit code. */
function printThrown(error: unknown): number {
  if (error instanceof DedupeError) {
    process.stderr.write(`${errorLines(error).join("\n")}\n`);
    return exitCodes[error.exitCode].code;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`dedupe: this is a bug in dedupe, please report it with these lines:\n${stack}\n`);
  return exitCodes.failed.code;
}

/** The manifest is one level up, from src/ as from dist/. */
function readVersion(): string {
  const require = createRequire(import.meta.url);
  return (require("../package.json") as { version: string }).version;
}
