import type { Reporter } from "../report/events.ts";

export type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** The reason of an aborted `CommandContext.stop`. */
export type StopReason = { signal: StopSignal };

/** What the composition root hands to every command. */
export type CommandContext = {
  reporter: Reporter;
  /** Aborted by the first signal: stop at the next safe point. Its reason is a `StopReason`. */
  stop: AbortSignal;
  /** Where tests put another door to the kernel; undefined means src/sys. */
  sysModule: URL | undefined;
  version: string;
  /**
   * Has `cleanup` run when the process ends, however it ends but by SIGKILL; it must be synchronous.
   * @returns does it now instead
   */
  atExit: (cleanup: () => void) => () => void;
};

/** Does it when the signal comes, at once if it came already. @returns lets go of the signal */
export function whenStopped(stop: AbortSignal, act: () => void): () => void {
  stop.addEventListener("abort", act);
  if (stop.aborted) act();
  return () => {
    stop.removeEventListener("abort", act);
  };
}
