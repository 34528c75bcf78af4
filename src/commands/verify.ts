import type { VerifyOptions, WithTarget } from "../options.ts";
import type { CommandContext } from "./context.ts";
import { preflightRefusal } from "./preflight.ts";
import { withRsnapshotLock } from "./rsnapshot-lock.ts";
import { verifyAgainst } from "./verify-against.ts";
import { verifyCertificate } from "./verify-certificate.ts";
import { openVerify } from "./verify-run.ts";
import { verifyStore } from "./verify-store.ts";

/**
 * `dedupe verify`: a store is sound, a target equals its source, or a tree is what a certificate says. Nothing of the
 * trees is changed, but by --repair.
 * @returns the exit code. @throws DedupeError before anything was read
 */
export function verify(options: VerifyOptions, context: CommandContext): Promise<number> {
  return withRsnapshotLock(options, context, (resolved) => verifyTarget(resolved, context));
}

async function verifyTarget(options: WithTarget<VerifyOptions>, context: CommandContext): Promise<number> {
  const run = await openVerify(options, context);
  try {
    const summary = await choose(options)(run);
    context.reporter.emit(summary);
    return summary.exitCode;
  } catch (error) {
    throw preflightRefusal(
      error,
      options.against === undefined ? `the target ${options.target}` : "source and target",
    );
  }
}

function choose({ against, certificateCheck, repair }: VerifyOptions) {
  if (repair) return verifyStore;
  if (certificateCheck !== undefined) return verifyCertificate;
  return against === undefined ? verifyStore : verifyAgainst;
}
