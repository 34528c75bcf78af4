import { tmpdir } from "node:os";
import type { VerifySummary } from "../report/events.ts";
import { explained, explanationOf, type DifferenceClass } from "../verify/compare.ts";
import { limitsOf } from "../verify/limits.ts";
import { Ledger } from "../verify/ledger.ts";
import { ROW_WORDS, hasFlag } from "../verify/ledger-row.ts";
import { rowStates } from "../verify/ledger.ts";
import type { Finding, TreeRules } from "../verify/messages.ts";
import { PendingFindings } from "../verify/pending.ts";
import { walkTrees } from "../verify/trees.ts";
import { tryCertificate, writeCertificate, type CertificateBasis } from "./certificate.ts";
import { collectFilter } from "./migrate-filter.ts";
import { openRoots } from "./preflight.ts";
import { reportStart, summarise, tellDifference, treeRoot, withCrew, type VerifyRun } from "./verify-run.ts";
import { openReadStore, type ReadStore } from "./verify-target.ts";

/** What a target without a store is held to. */
const strict = { compared: { mode: true, owner: true, time: true, xattrs: true }, merge: "all" } as const;

/** The target is the source: names, contents, attributes, holes, links. */
export async function verifyAgainst(run: VerifyRun): Promise<VerifySummary> {
  const { kernel, options } = run;
  const filter = collectFilter(kernel, options.filters);
  const { source, target } = openRoots(kernel, options.against ?? "", options.target);
  tryCertificate(run);
  const store = openReadStore(kernel, target);
  try {
    reportStart(run, source, target);
    const rules: TreeRules = {
      source: treeRoot(kernel, source),
      target: treeRoot(kernel, target),
      limits: limitsOf(kernel.sys, target.fd, store?.format.granularityNs),
      ...(store === undefined ? strict : { compared: store.format.compared, merge: store.format.merge }),
      hasStore: store !== undefined,
      filter,
      oneFileSystem: options.oneFileSystem,
    };
    return await compare(run, rules, store);
  } finally {
    store?.close();
  }
}

async function compare(
  run: VerifyRun,
  rules: TreeRules,
  store: ReadStore | undefined,
): Promise<VerifySummary> {
  const memory = Ledger.allocate();
  const ledger = new Ledger(run.writer, memory, "/");
  const pending = new PendingFindings(run.writer, tmpdir());
  let digests: Buffer[] | undefined;
  const listener = {
    findings: (findings: Finding[]): void => {
      for (const finding of findings) {
        const waits = finding.pending !== undefined && pending.add(finding);
        if (!waits) tellDifference(run, finding);
      }
    },
  };
  const setup = { ledger: memory, trees: rules, store: undefined };
  const ending = await withCrew(run, setup, listener, async (crew) => {
    digests = await walkTrees(crew, run.parts);
  });
  for (const finding of pending.all()) tellDifference(run, judgeLate(ledger, finding));
  pending.close();
  ledger.close();
  const source = run.options.against ?? "";
  const [ours, theirs] = (digests ?? []).map((digest) => digest.toString("hex"));
  const known =
    ours === undefined || theirs === undefined ? {} : { rootDigest: { source: ours, target: theirs } };
  const summary = summarise(run, ending, { mode: "against", source, ...known });
  const basis: CertificateBasis = { summary, startedAt: run.startedAt, rules };
  return { ...summary, ...(summary.outcome === "sound" ? writeCertificate(run, store, basis) : {}) };
}

/** What the target's inode has may be right by another source inode that it stands for. */
function judgeLate(ledger: Ledger, finding: Finding): Finding {
  const row = new Int32Array(ROW_WORDS);
  if (finding.pending === undefined) return finding;
  const state = ledger.find({ side: 1, ...finding.pending }, row);
  const name = finding.class as DifferenceClass;
  if (state !== rowStates.known || !hasFlag(row, explanationOf(name))) return finding;
  return { ...finding, ...explained({ class: name, name: finding.name }) };
}
