import { DedupeError } from "../errors.ts";
import type { VerifySummary } from "../report/events.ts";
import { check, isSysError } from "../sys/errors.ts";
import { openDirectory } from "../sys/files.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { Crew } from "../verify/crew.ts";
import { InodeSet } from "../verify/inode-set.ts";
import { DirectoryReader, type Listed } from "../verify/listing.ts";
import type { Failure, Finding, StoreRules } from "../verify/messages.ts";
import { fanOutName } from "../verify/object-name.ts";
import { follow, walkNames } from "../verify/trees.ts";
import { openNamed, type Root } from "./preflight.ts";
import { Strangers } from "./verify-deleted.ts";
import { Repairing, openForRepair } from "./verify-repair.ts";
import {
  reportStart,
  summarise,
  tellFailure,
  tellFinding,
  treeRoot,
  withCrew,
  type VerifyRun,
} from "./verify-run.ts";
import { chosenSlice, recordSlice } from "./verify-slices.ts";
import { openReadStore, type ReadStore } from "./verify-target.ts";

type StoreCheck = {
  run: VerifyRun;
  rules: StoreRules;
  /** The store's inodes. */
  known: InodeSet;
  /** Inodes with two names in the store, and inodes that findings are about: "high:low". */
  twice: Set<string>;
  suspects: Set<string>;
  strangers: Strangers;
  repairing: Repairing | undefined;
};

/** Every object is what its name says, and every name in the snapshots is an inode that the store knows. */
export async function verifyStore(run: VerifyRun): Promise<VerifySummary> {
  const { kernel, options } = run;
  const target = openNamed(kernel, options.target, "target");
  const store = options.repair ? openForRepair(run, target) : openReadStore(kernel, target);
  if (store === undefined) throw withoutStore(options.target);
  try {
    reportStart(run, target);
    return await checkStore(run, target, store);
  } finally {
    store.close();
  }
}

async function checkStore(run: VerifyRun, target: Root, store: ReadStore): Promise<VerifySummary> {
  const { quick, repair } = run.options;
  const slice = chosenSlice(run, store, run.options.slice);
  const rules = { ...rulesOf(run, target, store), slice };
  // Of a run that is killed this is all that is left.
  if (slice !== undefined) recordSlice(run, store, slice, { type: "stopped" });
  tellStore(run, store);
  const checking: StoreCheck = {
    ...{ run, rules, known: new InodeSet(), twice: new Set(), suspects: new Set() },
    strangers: new Strangers(run, rules, store),
    repairing: repair ? new Repairing(run, rules) : undefined,
  };
  const setup = { ledger: undefined, trees: undefined, store: rules };
  const checked = await withCrew(run, setup, listenerOf(checking), (crew) => checkAll(checking, crew));
  checking.strangers.tell();
  const ending =
    (await checking.repairing?.repair({ target, store, ending: checked, ...checking })) ?? checked;
  const summary = summarise(run, ending, {
    ...{ mode: "store", quick },
    ...(slice === undefined ? {} : { slice }),
    ...(repair ? { repaired: run.repaired, unrepaired: run.unrepaired } : {}),
    ...(run.options.against === undefined ? {} : { source: run.options.against }),
  });
  if (slice !== undefined && ending.type === "finished")
    recordSlice(run, store, slice, { type: "read", failures: summary.failures });
  return summary;
}

function rulesOf(run: VerifyRun, target: Root, store: ReadStore): Omit<StoreRules, "slice"> {
  const { kernel, options } = run;
  return {
    objectsFd: openPart(run, store, "objects"),
    groupsFd: openPart(run, store, "groups"),
    root: treeRoot(kernel, target),
    compared: store.format.compared,
    depth: options.quick ? "attributes" : "contents",
  };
}

/** -1 where it is missing, which is a finding: the store is read as if it were empty. @throws SysError */
function openPart(run: VerifyRun, store: ReadStore, name: "objects" | "groups"): number {
  try {
    return openDirectory(run.kernel, store.fd, name);
  } catch (error) {
    if (!isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
    tellFinding(run, { path: Buffer.from(`${STORE_NAME}/${name}`), class: "incomplete" }, "finding");
    return -1;
  }
}

function withoutStore(target: string): DedupeError {
  return new DedupeError("NO_STORE", `the target ${target} has no store (.dedupe) to be checked`, {
    hint: "To compare it with the source it was made from: dedupe verify --against SOURCE TARGET",
  });
}

function tellStore(run: VerifyRun, { isPrivate, index }: ReadStore): void {
  const tell = (path: string, name: Finding["class"], kind: "finding" | "note"): void => {
    tellFinding(run, { path: Buffer.from(path), class: name }, kind);
  };
  if (!isPrivate) tell(".dedupe", "not-private", "finding");
  if (index === "unreadable") {
    run.failures++;
    const path = Buffer.from(".dedupe/index/data.mdb");
    run.context.reporter.emit({ type: "failure", path, code: "INDEX", message: "the index cannot be read" });
  }
  if (index === "damaged") tell(".dedupe/index/data.mdb", "index-damaged", "finding");
  if (index === "missing") tell(".dedupe/index/data.mdb", "index-missing", "note");
}

function listenerOf({ run, suspects, strangers, repairing }: StoreCheck) {
  return {
    findings: (findings: Finding[]): void => {
      for (const finding of findings) {
        const { pending } = finding;
        if (finding.class === "new-since") {
          strangers.add(finding);
          continue;
        }
        if (pending !== undefined) suspects.add(keyOf(pending));
        tellFinding(run, finding, "finding");
        repairing?.note(finding);
      }
    },
    failures: (failures: Failure[]): void => {
      for (const failure of failures) {
        if (failure.inode !== undefined) suspects.add(failure.inode);
        if (repairing?.holds(failure) !== true) tellFailure(run, failure);
      }
    },
    ...(repairing === undefined ? {} : repairing.listener()),
  };
}

const keyOf = ({ inoLow, inoHigh }: { inoLow: number; inoHigh: number }): string =>
  `${String(inoHigh)}:${String(inoLow)}`;

/** First the store, which says which inodes it has; then the names. */
async function checkAll(checking: StoreCheck, crew: Crew): Promise<void> {
  const { run, rules, known, suspects } = checking;
  const objects = fanOut(run, rules.objectsFd, "objects");
  const groups = fanOut(run, rules.groupsFd, "groups");
  await Promise.all([
    ...objects.map((directory) => take(checking, crew, { type: "objects", directory })),
    ...groups.map((directory) => take(checking, crew, { type: "groups", directory })),
  ]);
  tellDuplicates(checking, [...objects, ...groups].length);
  await crew.tellAll({ type: "known", inodes: known.shared, suspects: [...suspects] });
  await walkNames(crew, run.parts);
}

type StoreTask = { type: "objects" | "groups"; directory: string };

async function take({ run, known, twice }: StoreCheck, crew: Crew, task: StoreTask): Promise<void> {
  const result = await follow(crew, run.parts, task);
  if (result?.type !== "inodes") return;
  const { inodes } = result;
  for (let at = 0; at < inodes.length; at += 2) {
    const inode = { inoLow: inodes[at] as number, inoHigh: inodes[at + 1] as number };
    if (!known.add(inode.inoLow, inode.inoHigh)) twice.add(keyOf(inode));
  }
}

/** The directories of objects/ or groups/; whatever else lies there is foreign. */
function fanOut(run: VerifyRun, fd: number, parent: "objects" | "groups"): string[] {
  const names = listAnew(run, fd);
  const isOurs = (name: string, type: number): boolean => fanOutName.test(name) && (type === 4 || type === 0);
  for (const { name, type } of names) {
    if (isOurs(name, type)) continue;
    const path = Buffer.from(`.dedupe/${parent}/${name}`, "latin1");
    tellFinding(run, { path, class: "foreign" }, "finding");
  }
  return names.filter(({ name, type }) => isOurs(name, type)).map(({ name }) => name);
}

/** A directory is read from where its descriptor stands: the workers need theirs at the beginning. */
function listAnew({ kernel: { sys, scratch } }: VerifyRun, fd: number): Listed[] {
  if (fd < 0) return [];
  const own = check(sys.openat(fd, scratch.text("."), sys.O_DIRECTORY, 0), "openat");
  try {
    return new DirectoryReader(sys).read(own);
  } finally {
    sys.close(own);
  }
}

/** An inode has one name in the store: a second one says something else of it, and is wrong. */
function tellDuplicates({ run, rules, twice, suspects }: StoreCheck, directories: number): void {
  if (twice.size === 0 || directories === 0) return;
  for (const [parent, fd] of [["objects", rules.objectsFd] as const, ["groups", rules.groupsFd] as const]) {
    for (const { name: directory } of listAnew(run, fd).filter(({ name }) => fanOutName.test(name))) {
      const inner = openDirectory(run.kernel, fd, directory);
      for (const entry of listAnew(run, inner)) {
        if (!twice.has(keyOf(entry))) continue;
        suspects.add(keyOf(entry));
        const path = Buffer.from(`.dedupe/${parent}/${directory}/${entry.name}`, "latin1");
        tellFinding(run, { path, class: "duplicate" }, "finding");
      }
      run.kernel.sys.close(inner);
    }
  }
}
