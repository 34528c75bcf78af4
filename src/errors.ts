import type { exitCodes } from "./exit-codes.ts";

export type ExitName = keyof typeof exitCodes;

/**
 * What a user can meet and act on. `code` is stable for scripts, `message` one sentence with what and where,
 * `hint` what to do next. Printed without a stack; any other error that reaches the top is a bug.
 */
export class DedupeError extends Error {
  override readonly name = "DedupeError";
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: ExitName;

  constructor(
    code: string,
    message: string,
    details: { hint?: string | undefined; exitCode?: ExitName; cause?: unknown } = {},
  ) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.hint = details.hint;
    this.exitCode = details.exitCode ?? "failed";
  }
}

/** Without a hint the command line names the help of the command at hand. */
export function usageError(message: string, hint?: string): DedupeError {
  return new DedupeError("usage", message, { hint, exitCode: "usage" });
}
