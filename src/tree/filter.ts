/**
 * rsync's filter rules for the transfer of "SRC/": the root of the source is the root of the transfer. The
 * language is that of rsync's manual, "FILTER RULES"; names are bytes and are compared as in the C locale.
 */
import { compilePattern, matchesPattern, subjectOf } from "./filter-pattern.ts";
import { collectRules } from "./filter-rules.ts";
import type { PathPattern, Subject } from "./filter-pattern.ts";
import type { FilterRules, ReadRuleFile, RuleSource } from "./filter-rules.ts";
import type { FilterRule } from "./filter-syntax.ts";

export { FilterSyntaxError } from "./filter-syntax.ts";
export type { FilterRules, ReadRuleFile, RuleSource } from "./filter-rules.ts";

export type EntryKind = "directory" | "other";

/** Paths are relative to the root, without a slash at either end; the empty path is the root itself. */
export type Filter = {
  readonly isEmpty: boolean;
  /** A directory that is not taken is not descended into: nothing below it is asked for. */
  takes(path: Buffer, kind: EntryKind): boolean;
  /**
   * Whether --delete leaves this name of the target alone, and all below it. In a directory that is being deleted
   * itself ("doomed") perishable rules do not hold; a protected name there keeps that directory.
   */
  protects(path: Buffer, kind: EntryKind, parent?: "kept" | "doomed"): boolean;
  /** Plain data, from which filterFrom makes the same filter in another thread. */
  readonly rules: FilterRules;
};

/** `readFile` is for merge rules; what it throws is passed on. */
export function parseFilter(sources: readonly RuleSource[], readFile?: ReadRuleFile): Filter {
  return filterFrom(collectRules(sources, readFile));
}

export function filterFrom(rules: FilterRules): Filter {
  const compiled = rules.map(compileRule);
  const forSource = compiled.filter(({ rule }) => rule.side !== "target");
  const forTarget = compiled.filter(({ rule }) => rule.side !== "source");
  const forDoomed = forTarget.filter(({ rule }) => !rule.perishable);
  return {
    isEmpty: rules.length === 0,
    takes: (path, kind) => firstEffect(forSource, path, kind) !== "exclude",
    protects: (path, kind, parent = "kept") =>
      firstEffect(parent === "kept" ? forTarget : forDoomed, path, kind) === "exclude",
    rules,
  };
}

type CompiledRule = { readonly rule: FilterRule; readonly pattern: PathPattern };

function compileRule(rule: FilterRule): CompiledRule {
  return { rule, pattern: compilePattern(rule.pattern) };
}

/** Of the first rule that holds. No rule holds for the root: rsync does not filter it either. */
function firstEffect(
  rules: readonly CompiledRule[],
  path: Uint8Array,
  kind: EntryKind,
): FilterRule["effect"] | undefined {
  if (rules.length === 0 || path.length === 0) return undefined;
  const subject = subjectOf(path, kind);
  return rules.find((compiled) => holds(compiled, subject))?.rule.effect;
}

function holds({ rule, pattern }: CompiledRule, subject: Subject): boolean {
  const matches = (!rule.directoriesOnly || subject.kind === "directory") && matchesPattern(pattern, subject);
  return matches !== rule.negated;
}
