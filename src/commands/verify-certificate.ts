import type { VerifySummary } from "../report/events.ts";
import { Ledger } from "../verify/ledger.ts";
import { limitsOf } from "../verify/limits.ts";
import type { TreeRules } from "../verify/messages.ts";
import { walkTrees } from "../verify/trees.ts";
import { filterOf, readCertificate, type Certificate } from "./certificate.ts";
import { openNamed } from "./preflight.ts";
import {
  reportStart,
  summarise,
  tellDifference,
  tellFinding,
  treeRoot,
  withCrew,
  type VerifyRun,
} from "./verify-run.ts";

/** The tree is still what it was when the certificate was made, as source or as target. */
export async function verifyCertificate(run: VerifyRun): Promise<VerifySummary> {
  const { kernel, options } = run;
  const certificate = readCertificate(run, options.certificateCheck ?? "");
  const tree = openNamed(kernel, options.target, "target");
  reportStart(run, tree);
  const rules: TreeRules = {
    source: treeRoot(kernel, tree),
    target: undefined,
    limits: limitsOf(kernel.sys, tree.fd, undefined),
    compared: { mode: true, owner: true, time: true, xattrs: true },
    merge: "all",
    hasStore: true,
    filter: filterOf(certificate),
    oneFileSystem: certificate.oneFileSystem,
  };
  let digest: string | undefined;
  const listener = {
    findings: (findings: Parameters<typeof tellDifference>[1][]): void => {
      for (const finding of findings) tellDifference(run, finding);
    },
  };
  const memory = Ledger.allocate();
  const setup = { ledger: memory, trees: rules, store: undefined };
  const ending = await withCrew(run, setup, listener, async (crew) => {
    digest = (await walkTrees(crew, run.parts))?.[0]?.toString("hex");
  });
  new Ledger(run.writer, memory, "/").close();
  if (ending.type === "finished" && run.failures === 0) judge(run, certificate, digest ?? "");
  const known = digest === undefined ? {} : { rootDigest: { target: digest } };
  return summarise(run, ending, { mode: "certificate", ...known });
}

function judge(run: VerifyRun, { names, rootDigest }: Certificate, digest: string): void {
  if (digest === rootDigest.source || digest === rootDigest.target) return;
  const path = Buffer.alloc(0);
  if (run.tally.names !== names) {
    const counts = { source: `${String(names)} names`, target: `${String(run.tally.names)} names` };
    tellFinding(run, { path, class: "names", ...counts }, "finding");
  }
  tellFinding(run, { path, class: "root-digest", source: rootDigest.target, target: digest }, "finding");
}
