/** What a faulty kernel is told to do; travels as JSON in the environment, from the test to every thread. */
export const PLAN_VARIABLE = "DEDUPE_FAULTS";
/** Descriptors that the main thread opened for all: see `openShared` in faulty-sys.ts. */
export const SHARED_VARIABLE = "DEDUPE_FAULTS_SHARED";

export type FaultPlan = {
  /** Calls are counted over all threads, from 1. */
  readonly rules?: readonly FaultRule[];
  readonly trace?: TraceRule;
};

/** Which calls a rule is about; what is left out matches all. */
export type CallFilter = {
  /** Names of Sys methods. "syncfs" is both of its forms. */
  readonly calls?: readonly string[];
  /** Part of the name argument, or of the path of one of the descriptors. */
  readonly path?: string;
};

export type FaultRule = CallFilter & {
  /** The Nth call that matches; default 1. */
  readonly at?: number;
  /** How many from there on; default 1. */
  readonly times?: number;
  readonly action: FaultAction;
};

export type FaultAction =
  /** The call is not made and answers -errno. */
  | { readonly type: "fail"; readonly errno: number }
  | { readonly type: "kill"; readonly when: "before" | "after" }
  /** A shell command, for what another process might do just then. */
  | { readonly type: "run"; readonly when: "before" | "after"; readonly command: string };

/** One JSON line a call, in the order in which the calls returned. */
export type TraceRule = CallFilter & { readonly file: string };

export type TracedCall = {
  /** Position among all calls of all threads when it began and when it returned. */
  readonly begin: number;
  readonly end: number;
  readonly call: string;
  readonly result: number;
  /** Paths of the descriptors and names given, in order. */
  readonly paths: readonly string[];
};
