import type { Unit } from "../tree/snapshots.ts";
import type { FromWorker, WorkerSetup } from "./messages.ts";
import type { UnitReport } from "./migration.ts";
import type { SurveyTraits } from "./survey-context.ts";
import type { NeedCounts } from "./survey-needs.ts";
import type { SurveyRoots } from "./surveyor.ts";

/** Everything a survey's thread needs; plain data. The descriptors stay its owner's. */
export type SurveySetup = {
  thread: WorkerSetup;
  units: readonly Unit[];
  roots: SurveyRoots;
  traits: SurveyTraits;
  /** Whether the run would have to make the target's store. */
  store: "new" | "there";
  maxDelete: number | undefined;
  /** An empty directory for what the survey notes; it may be removed once it has said "opened". */
  ledgerDirectory: string;
};

export type FromSurvey =
  | FromWorker
  | { type: "opened" }
  | { type: "begun"; unit: number }
  | { type: "unit"; report: UnitReport }
  | { type: "ended"; needs: NeedCounts; held: number }
  | { type: "stopped" };
