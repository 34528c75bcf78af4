/** Rule arguments in command-line order, and the files they name, made into one list of rules. */
import { FilterSyntaxError, parseRule } from "./filter-syntax.ts";
import type { FilterRule, RuleContext, Statement } from "./filter-syntax.ts";

/** One rule argument in command-line order, files already read: contents as bytes. */
export type RuleSource =
  /** `origin` is for error messages, such as "--exclude". */
  | { type: "exclude" | "include" | "filter"; pattern: Buffer; origin: string }
  /** `origin` is the name of the file. */
  | { type: "exclude-from" | "include-from"; contents: Buffer; origin: string };

/** In order: the first rule that matches decides. Plain data, fit for a message to a worker. */
export type FilterRules = readonly FilterRule[];

/** Reads a merge file; a relative name is relative to the working directory, as for rsync. */
export type ReadRuleFile = (name: string) => Buffer;

type Reading = {
  readonly rules: FilterRule[];
  readonly readFile: ReadRuleFile | undefined;
  /** How many merge files are open around this text. */
  readonly depth: number;
};

/** Far more than anyone nests; only files that merge each other get here. */
const deepestMerge = 32;

const plain = { side: undefined, perishable: false } as const;

export function collectRules(
  sources: readonly RuleSource[],
  readFile: ReadRuleFile | undefined,
): FilterRules {
  const reading: Reading = { rules: [], readFile, depth: 0 };
  for (const source of sources) addSource(reading, source);
  return reading.rules;
}

function addSource(reading: Reading, source: RuleSource): void {
  switch (source.type) {
    case "filter":
      addText(reading, source.pattern, {
        context: { syntax: "rules", effect: "exclude", ...plain },
        where: source.origin,
      });
      return;
    case "exclude":
    case "include":
      addText(reading, source.pattern, {
        context: { syntax: "simple", effect: source.type, ...plain },
        where: source.origin,
      });
      return;
    case "exclude-from":
    case "include-from": {
      const effect = source.type === "exclude-from" ? "exclude" : "include";
      addLines(reading, source.contents, {
        context: { syntax: "simple", effect, ...plain },
        where: source.origin,
      });
    }
  }
}

type Place = { readonly context: RuleContext; readonly where: string };

/** An empty argument is no rule, as for rsync. */
function addText(reading: Reading, bytes: Buffer, place: Place): void {
  if (bytes.length === 0) return;
  const statement = parseRule({ bytes, ...place });
  switch (statement.type) {
    case "clear":
      reading.rules.length = 0;
      return;
    case "merge":
      addMerged(reading, statement, place.where);
      return;
    case "rule":
      reading.rules.push(statement.rule);
  }
}

function addMerged(reading: Reading, merge: Extract<Statement, { type: "merge" }>, where: string): void {
  if (reading.readFile === undefined) {
    throw new FilterSyntaxError(
      `${where}: merge rules are not allowed here: there is no way to read ${merge.file}`,
    );
  }
  if (reading.depth === deepestMerge) {
    throw new FilterSyntaxError(
      `${where}: merge files are nested more than ${deepestMerge} deep; does ${merge.file} merge itself?`,
    );
  }
  if (merge.itself !== undefined) reading.rules.push(merge.itself);
  const contents = reading.readFile(merge.file);
  const inner = { ...reading, depth: reading.depth + 1 };
  const place = { context: merge.context, where: merge.file };
  if (merge.split === "words") addWords(inner, contents, place);
  else addLines(inner, contents, place);
}

function addLines(reading: Reading, contents: Buffer, { context, where }: Place): void {
  const lines = contents.toString("latin1").split(/\r\n|\r|\n/);
  for (const [index, line] of lines.entries()) {
    if (line.startsWith("#") || line.startsWith(";")) continue;
    addText(reading, Buffer.from(line, "latin1"), { context, where: `${where}, line ${index + 1}` });
  }
}

/**
 * Words are split at white space, comments are none. The manual lets "- foo" stand for one rule although it is two
 * words: a full rule without "_" has its pattern in the next word.
 */
function addWords(reading: Reading, contents: Buffer, { context, where }: Place): void {
  const words = contents
    .toString("latin1")
    .split(/[ \t-\r]+/)
    .filter((word) => word !== "");
  for (let at = 0; at < words.length; at += 1) {
    const place = { context, where: `${where}, word ${at + 1}` };
    const word = words[at] ?? "";
    const takesNext = context.syntax === "rules" && !word.includes("_") && !/^(!|clear),?$/.test(word);
    const next = takesNext ? words[++at] : undefined;
    addText(reading, Buffer.from(next === undefined ? word : `${word} ${next}`, "latin1"), place);
  }
}
