/** The text of one filter rule, as rsync's manual has it under "FILTER RULES IN DEPTH", read into a value. */

/** The user's rule cannot be followed. The message says which rule, where it stands and what is allowed. */
export class FilterSyntaxError extends Error {
  override readonly name = "FilterSyntaxError";
  readonly code = "FILTER_SYNTAX";
}

export type FilterRule = {
  readonly effect: "exclude" | "include";
  /** "source": what is taken; "target": what is kept from deletion. */
  readonly side: "both" | "source" | "target";
  readonly directoriesOnly: boolean;
  /** Holds for what the pattern does not match. */
  readonly negated: boolean;
  /** Does not hold inside a directory that is being deleted. */
  readonly perishable: boolean;
  readonly pattern: Uint8Array;
};

/** How a text is to be read, and what a merge rule hands down to the rules of its file. */
export type RuleContext = {
  /** "rules": any rule; "simple": a pattern, perhaps with "+ " or "- " before it; "patterns": all is pattern. */
  readonly syntax: "rules" | "simple" | "patterns";
  readonly effect: FilterRule["effect"];
  readonly side: FilterRule["side"] | undefined;
  readonly perishable: boolean;
};

export type Statement =
  | { readonly type: "rule"; readonly rule: FilterRule }
  | { readonly type: "clear" }
  | {
      readonly type: "merge";
      readonly file: string;
      readonly split: "lines" | "words";
      readonly context: RuleContext;
      /** From modifier e: hides the file's own name. */
      readonly itself: FilterRule | undefined;
    };

/** rsync's MAXPATHLEN. */
const longestPattern = 4095;

const ruleNames =
  "- (exclude), + (include), H (hide), S (show), P (protect), R (risk), . (merge) and ! (clear)";
const prefixes =
  /^(?:(exclude|include|hide|show|protect|risk|merge|dir-merge|clear)(?=[ \t-\r_,]|$)|([-+HSPR.:!])),?/;

const longNames = {
  "-": "exclude",
  "+": "include",
  H: "hide",
  S: "show",
  P: "protect",
  R: "risk",
  ".": "merge",
  ":": "dir-merge",
  "!": "clear",
} as const;

type RuleName = (typeof longNames)[keyof typeof longNames];
type PatternRuleName = Exclude<RuleName, "merge" | "dir-merge" | "clear">;

const meanings = {
  exclude: { effect: "exclude", side: undefined },
  include: { effect: "include", side: undefined },
  hide: { effect: "exclude", side: "source" },
  show: { effect: "include", side: "source" },
  protect: { effect: "exclude", side: "target" },
  risk: { effect: "include", side: "target" },
} as const;

const refusedModifiers: Record<string, string> = {
  "/": "modifier / (match the absolute path) is not supported: anchor the pattern at the source with a leading / instead",
  C: "modifier C (CVS) is not supported: name the patterns in rules of their own",
  x: "modifier x (names of extended attributes) is not supported: rules apply to file names alone",
};

type RuleText = {
  readonly bytes: Buffer;
  readonly context: RuleContext;
  /** For messages: the option, or file and line. */
  readonly where: string;
};

/** `bytes` is not empty. */
export function parseRule(text: RuleText): Statement {
  const { bytes, context } = text;
  if (bytes.includes(0)) refuse(text, "a name has no NUL byte; put one rule on a line");
  if (context.syntax === "rules") return parseFullRule(text);
  const simple = context.syntax === "simple";
  if (simple && bytes.equals(Buffer.from("!"))) return { type: "clear" };
  const sign = simple ? /^([-+]) /.exec(bytes.toString("latin1"))?.[1] : undefined;
  const effect = sign === undefined ? context.effect : sign === "-" ? "exclude" : "include";
  const pattern = sign === undefined ? bytes : bytes.subarray(2);
  return { type: "rule", rule: makeRule({ ...text, context: { ...context, effect } }, pattern) };
}

/** Bytes are read as latin1, one character each, so that positions agree. */
function parseFullRule(text: RuleText): Statement {
  const whole = text.bytes.toString("latin1");
  const prefix = prefixes.exec(whole);
  if (prefix === null) return refuse(text, `no rule starts like this; there are ${ruleNames}`);
  const name = ruleNameOf(prefix);
  const rest = whole.slice(prefix[0].length);
  if (name === "clear")
    return rest === "" ? { type: "clear" } : refuse(text, "nothing may follow a clear rule");
  if (name === "dir-merge") {
    const instead = 'put the rules into one file and name it with "merge FILE"';
    return refuse(text, `dir-merge rules (files read in each directory) are not supported: ${instead}`);
  }
  const modifiers = /^[^ _]*/.exec(rest)?.[0] ?? "";
  const argument = Buffer.from(rest.slice(modifiers.length + 1), "latin1");
  return name === "merge"
    ? parseMerge(text, modifiers, argument)
    : { type: "rule", rule: parsePatternRule(text, { name, modifiers, argument }) };
}

function ruleNameOf([, long, short]: RegExpExecArray): RuleName {
  return (long as RuleName | undefined) ?? longNames[short as keyof typeof longNames];
}

function parsePatternRule(
  text: RuleText,
  { name, modifiers, argument }: { name: PatternRuleName; modifiers: string; argument: Buffer },
): FilterRule {
  const { effect, side } = meanings[name];
  checkModifiers(text, modifiers, side === undefined ? ["!", "p", "r", "s"] : ["!", "p"]);
  const context = { ...inherit(text, modifiers, side), effect };
  return { ...makeRule({ ...text, context }, argument), negated: modifiers.includes("!") };
}

function parseMerge(text: RuleText, modifiers: string, argument: Buffer): Statement {
  checkModifiers(text, modifiers, ["-", "+", "e", "n", "p", "r", "s", "w"]);
  const signs = modifiers.replaceAll(/[^-+]/g, "");
  if (signs.length > 1) refuse(text, "of the modifiers - and + a merge rule takes one, once");
  const file = argument.toString();
  if (file === "") refuse(text, "a merge rule needs the name of a file");
  if (!Buffer.from(file).equals(argument)) refuse(text, "the name of a merge file must be UTF-8");
  const context: RuleContext = {
    ...inherit(text, modifiers, undefined),
    syntax: signs === "" ? "rules" : "patterns",
    effect: signs === "+" ? "include" : "exclude",
  };
  const own: RuleContext = { syntax: "patterns", effect: "exclude", side: undefined, perishable: false };
  const ownName = argument.subarray(argument.lastIndexOf("/") + 1);
  const itself = modifiers.includes("e") ? makeRule({ ...text, context: own }, ownName) : undefined;
  return { type: "merge", file, split: modifiers.includes("w") ? "words" : "lines", context, itself };
}

function checkModifiers(text: RuleText, modifiers: string, allowed: readonly string[]): void {
  for (const modifier of modifiers) {
    if (allowed.includes(modifier)) continue;
    refuse(
      text,
      refusedModifiers[modifier] ??
        `${JSON.stringify(modifier)} is no modifier of this rule; it takes ${allowed.join(" ")}, then a space or "_", then the pattern`,
    );
  }
}

/** What modifiers and the file that the rule stands in say together. */
function inherit(text: RuleText, modifiers: string, side: FilterRule["side"] | undefined): RuleContext {
  const own = side ?? sideOf(modifiers);
  if (own !== undefined && text.context.side !== undefined) {
    refuse(
      text,
      "the merge rule for this file already says which side its rules are for; name it there alone",
    );
  }
  const perishable = text.context.perishable || modifiers.includes("p");
  return { ...text.context, side: own ?? text.context.side, perishable };
}

function sideOf(modifiers: string): FilterRule["side"] | undefined {
  const source = modifiers.includes("s");
  const target = modifiers.includes("r");
  if (source && target) return "both";
  return source ? "source" : target ? "target" : undefined;
}

function makeRule(text: RuleText, pattern: Buffer): FilterRule {
  if (pattern.length === 0) refuse(text, "the rule has no pattern");
  if (pattern.length > longestPattern) refuse(text, `a pattern has at most ${longestPattern} bytes`);
  const directoriesOnly = pattern.length > 1 && pattern.at(-1) === 0x2f;
  const { effect, side = "both", perishable } = text.context;
  return {
    effect,
    side,
    directoriesOnly,
    negated: false,
    perishable,
    // A copy outside Buffer's pool: posting a slice of the pool to a worker would send all of the pool.
    pattern: Uint8Array.from(directoriesOnly ? pattern.subarray(0, -1) : pattern),
  };
}

function refuse({ bytes, where }: RuleText, reason: string): never {
  const shown = bytes.length > 120 ? `${bytes.subarray(0, 120).toString()}...` : bytes.toString();
  throw new FilterSyntaxError(`${where}: filter rule ${JSON.stringify(shown)}: ${reason}`);
}
