/** The one table of exit codes; --help and docs/cli.md print it. */
export const exitCodes = {
  ok: { code: 0, meaning: "all well" },
  failed: { code: 1, meaning: "failed" },
  usage: { code: 2, meaning: "wrong usage" },
  partial: { code: 3, meaning: "finished, but some entries could not be handled (each is listed)" },
  findings: { code: 4, meaning: "findings (verify, compact)" },
  locked: { code: 5, meaning: "the target is locked by another run" },
  hangup: { code: 129, meaning: "stopped by SIGHUP, resumable" },
  interrupted: { code: 130, meaning: "stopped by SIGINT, resumable" },
  terminated: { code: 143, meaning: "stopped by SIGTERM, resumable" },
} as const;

/** What a run that a signal stopped ends with. */
export const signalExitCodes = {
  SIGHUP: exitCodes.hangup.code,
  SIGINT: exitCodes.interrupted.code,
  SIGTERM: exitCodes.terminated.code,
} as const;
