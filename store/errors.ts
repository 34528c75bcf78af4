/** A store that cannot be used; `code` is stable for scripts, `hint` says what to do next. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  readonly hint: string;

  constructor(code: StoreErrorCode, message: string, options: { hint: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.name = "StoreError";
    this.code = code;
    this.hint = options.hint;
  }
}

export type StoreErrorCode =
  "STORE_LOCKED" | "STORE_FORMAT" | "STORE_POLICY" | "STORE_UNUSABLE" | "STORE_INDEX";
