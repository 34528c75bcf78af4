/**
 * src/tree/filter.ts against rsync itself, on random trees and rules. DEDUPE_TESTS_SEED repeats a run. Not asked of
 * rsync, because the answers differ on purpose: refused rules, and "- a" as two words of a merge file with w.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FilterSyntaxError, parseFilter } from "../../src/tree/filter.ts";
import type { EntryKind, Filter, RuleSource } from "../../src/tree/filter.ts";
import { requireTool } from "../support/skip.ts";
import { isLong } from "../support/long.ts";

const seed = Number(process.env["DEDUPE_TESTS_SEED"] ?? 20_261_123);
const scale = isLong ? 10 : 1;

/** Texts are latin1: one character, one byte. */
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

const argument = (type: "exclude" | "include" | "filter", text: string): RuleSource => ({
  type,
  pattern: bytes(text),
  origin: `--${type}`,
});

type Leaf = { names: string[]; kind: "file" | "directory" | "symlink"; on: "source" | "target" | "both" };
/** Path to kind: "directory" for whatever has something below it. */
type Tree = Map<string, Leaf["kind"]>;
type Side = "source" | "target";

/** Few letters, so that patterns meet names; the rest for what is special to shells, rules and UTF-8. */
const plainNames = ["a", "b", "ab", "ba", "a.o"];
// prettier-ignore
const oddNames = ["*", "[a]", "a\\b", "\\", "]", "-", "a b", "\xff", "\xc3\xa9", "#c", "-x", "!", "_", "^a", ".o", "+ a"];
// prettier-ignore
const sets = ["[ab]", "[!a]", "[^b-z]", "[a-c]", "[[:alpha:]]", "[![:punct:]]", "[]a]", "[!]a]", "[a-]", "[\\]a]", "[x[:bogus:]]", "[a", "[\x80-\xff]", "[/a]"];
const escapes = ["\\", "\\a", "\\*", "\\\\"];

const name = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...plainNames) },
  { weight: 1, arbitrary: fc.constantFrom(...oddNames) },
);
const leaves = fc.array(
  fc.record<Leaf>({
    names: fc.array(name, { minLength: 1, maxLength: 4 }),
    kind: fc.constantFrom("file", "file", "directory", "symlink"),
    on: fc.constantFrom("source", "target", "both"),
  }),
  { minLength: 1, maxLength: 24 },
);

const piece = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", "a", "b", ".o") },
  { weight: 1, arbitrary: fc.constantFrom(...oddNames, ...escapes) },
  { weight: 4, arbitrary: fc.constantFrom("*", "*", "**", "**", "***", "?") },
  { weight: 1, arbitrary: fc.constantFrom(...sets) },
  { weight: 3, arbitrary: fc.constant("/") },
);
const joined = fc.array(piece, { minLength: 1, maxLength: 7 }).map((pieces) => pieces.join(""));
const pattern = fc
  .tuple(
    fc.constantFrom("", "", "", "/", "**/"),
    joined,
    fc.constantFrom("", "", "", "/", "/***", "/**", "*"),
  )
  .map((parts) => parts.join(""));
const line = fc.oneof(
  pattern,
  pattern.map((text) => `- ${text}`),
  pattern.map((text) => `+ ${text}`),
  fc.constantFrom("", "# x", "; x", "!"),
);
const prefix = fc.oneof(
  fc.constantFrom(
    "- ",
    "+ ",
    "-_",
    "H ",
    "S ",
    "P ",
    "R ",
    "hide ",
    "show_",
    "protect ",
    "risk ",
    "exclude,_",
    "include ",
  ),
  fc
    .tuple(
      fc.constantFrom("-", "+", "-,", "exclude,"),
      fc.constantFrom("!", "p", "s", "r", "sr", "!p", "!s", "pr"),
    )
    .map(([rule, modifiers]) => `${rule}${modifiers} `),
  fc.constantFrom("H! ", "P,p ", "R! ", "S_"),
);
const fullRule = fc.oneof(
  { weight: 20, arbitrary: fc.tuple(prefix, pattern).map((parts) => parts.join("")) },
  { weight: 1, arbitrary: fc.constantFrom("!", "clear") },
);
const sidelessRule = fc
  .tuple(fc.constantFrom("- ", "+ ", "-! ", "-p "), pattern)
  .map((parts) => parts.join(""));

/** What stands behind one option: its text, or the lines of its file. */
type Given = { option: string; lines: string[] };
const given = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom("--exclude=", "--include="), pattern)
      .map(([option, text]): Given => ({ option: option + text, lines: [] })),
  },
  { weight: 6, arbitrary: fullRule.map((text): Given => ({ option: `--filter=${text}`, lines: [] })) },
  {
    weight: 2,
    arbitrary: fc.record({
      option: fc.constantFrom("--exclude-from=", "--include-from="),
      lines: fc.array(line, { maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      option: fc.constantFrom("--filter=. ", "--filter=merge_", "--filter=.p "),
      lines: fc.array(fullRule, { maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      option: fc.constantFrom("--filter=.s ", "--filter=merge,rp "),
      lines: fc.array(sidelessRule, { maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      option: fc.constantFrom("--filter=.- ", "--filter=.+ ", "--filter=.-s "),
      lines: fc.array(pattern, { maxLength: 4 }),
    }),
  },
);
const givens = fc.array(given, { minLength: 1, maxLength: 6 });

function isFileOption({ option }: Given): boolean {
  return /^(--(ex|in)clude-from=|--filter=(\.|merge))/.test(option);
}

function filterOf(list: readonly Given[]): Filter {
  const sources = list.map((one, index): RuleSource => {
    const [, type = "", text = ""] = /^--([a-z-]+)=(.*)$/s.exec(one.option) ?? [];
    if (type === "exclude-from" || type === "include-from") {
      return { type, contents: bytes(one.lines.join("\n")), origin: `rules${index}` };
    }
    return argument(type as "exclude" | "include" | "filter", isFileOption(one) ? `${text}${index}` : text);
  });
  return parseFilter(sources, (index) => bytes(list[Number(index)]!.lines.join("\n")));
}

function treesOf(list: readonly Leaf[]): Record<Side, Tree> {
  const kinds: Tree = new Map();
  for (const leaf of list) {
    const parents = leaf.names.slice(0, -1).map((_, depth) => leaf.names.slice(0, depth + 1).join("/"));
    for (const parent of parents) kinds.set(parent, "directory");
    const path = leaf.names.join("/");
    if (!kinds.has(path)) kinds.set(path, leaf.kind);
  }
  const treeOn = (side: Side): Tree => {
    const here = list.filter(({ on }) => on === side || on === "both");
    const paths = here.flatMap((leaf) =>
      leaf.names.map((_, depth) => leaf.names.slice(0, depth + 1).join("/")),
    );
    return new Map(paths.sort().map((path) => [path, kinds.get(path)!]));
  };
  return { source: treeOn("source"), target: treeOn("target") };
}

function writeTree(root: string, tree: Tree): void {
  mkdirSync(root);
  for (const [path, kind] of tree) {
    const at = Buffer.concat([bytes(`${root}/`), bytes(path)]);
    if (kind === "directory") mkdirSync(at);
    else if (kind === "symlink") symlinkSync("nowhere", at);
    else writeFileSync(at, "");
  }
}

function readTree(root: Buffer): string[] {
  return readdirSync(root, { encoding: "buffer", withFileTypes: true }).flatMap((dirent) => {
    const own = dirent.name.toString("latin1");
    if (!dirent.isDirectory()) return [own];
    return [own, ...readTree(Buffer.concat([root, bytes("/"), dirent.name])).map((path) => `${own}/${path}`)];
  });
}

function childrenOf(tree: Tree, parent: string): string[] {
  const start = parent === "" ? "" : `${parent}/`;
  return [...tree.keys()].filter(
    (path) => path.startsWith(start) && !path.slice(start.length).includes("/") && path !== parent,
  );
}

const kindOf = (tree: Tree, path: string): EntryKind =>
  tree.get(path) === "directory" ? "directory" : "other";

function takenBelow(filter: Filter, tree: Tree, parent: string): string[] {
  return childrenOf(tree, parent)
    .filter((path) => filter.takes(bytes(path), kindOf(tree, path)))
    .flatMap((path) => [path, ...takenBelow(filter, tree, path)]);
}

/** What of the target stays below a directory that the source has (or, "doomed", has no more). */
function staysBelow(
  filter: Filter,
  { source, target }: Record<Side, Tree>,
  { parent, fate }: { parent: string; fate: "kept" | "doomed" },
): string[] {
  return childrenOf(target, parent).flatMap((path) => {
    const kind = kindOf(target, path);
    const below = (next: "kept" | "doomed"): string[] =>
      staysBelow(filter, { source, target }, { parent: path, fate: next });
    if (fate === "kept" && source.has(path) && filter.takes(bytes(path), kind))
      return [path, ...below("kept")];
    if (filter.protects(bytes(path), kind, fate))
      return [...target.keys()].filter((at) => `${at}/`.startsWith(`${path}/`));
    const rest = kind === "directory" ? below("doomed") : [];
    return rest.length > 0 ? [path, ...rest] : [];
  });
}

const rsyncIsThere = requireTool("rsync") && requireTool("xargs");

describe.skipIf(!rsyncIsThere)("rsync itself", () => {
  let base = "";
  let runs = 0;
  let passed = true;

  beforeAll(() => {
    base = mkdtempSync(join(tmpdir(), "dedupe-filter-"));
    process.stderr.write(`filter oracle: DEDUPE_TESTS_SEED=${seed}\n`);
  });

  afterAll(() => {
    if (passed) rmSync(base, { recursive: true });
  });

  /** Arguments are bytes, which spawn() cannot pass: xargs does. */
  function rsync(
    root: string,
    options: readonly string[],
  ): { status: number | null; stdout: string; stderr: string } {
    const all = [...options, `${root}/source/`, `${root}/target/`];
    writeFileSync(join(root, "arguments"), bytes(all.map((text) => `${text}\0`).join("")));
    const { status, stdout, stderr } = spawnSync("xargs", ["-0", "-a", join(root, "arguments"), "rsync"], {
      env: { ...process.env, LC_ALL: "C" },
      encoding: "latin1",
    });
    return { status, stdout, stderr };
  }

  /** What a transfer into the empty target would make, sorted. */
  function listed(root: string, options: readonly string[]): string[] {
    const { status, stdout, stderr } = rsync(root, ["-an", "-8", "--out-format=%n", ...options]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const paths = stdout.split("\n").filter((path) => path !== "" && path !== "./");
    return paths.map((path) => path.replace(/\/$/, "")).sort();
  }

  function withTrees<T>(trees: Record<Side, Tree>, task: (root: string) => T): T {
    const root = join(base, `${runs++}`);
    mkdirSync(root);
    writeTree(join(root, "source"), trees.source);
    writeTree(join(root, "target"), trees.target);
    try {
      const result = task(root);
      rmSync(root, { recursive: true });
      return result;
    } catch (error) {
      passed = false;
      throw new Error(`trees kept in ${root}`, { cause: error });
    }
  }

  function optionsOf(root: string, list: readonly Given[]): string[] {
    return list.map((one, index) => {
      if (!isFileOption(one)) return one.option;
      writeFileSync(join(root, `rules${index}`), bytes(one.lines.join("\n")));
      return `${one.option}${root}/rules${index}`;
    });
  }

  it("matches the same names with one pattern", () => {
    const dense = plainNames.flatMap((one) =>
      plainNames.flatMap((two) => [...plainNames, ...oddNames].map((three) => [one, two, three])),
    );
    const list = [...dense, ...oddNames.map((odd) => [odd]), ...oddNames.map((odd) => [odd, "a"])];
    const trees = treesOf(list.map((path) => ({ names: path, kind: "file", on: "source" })));
    withTrees(trees, (root) => {
      fc.assert(
        fc.property(pattern, (text) => {
          const filter = parseFilter([argument("filter", `- ${text}`)]);
          expect(takenBelow(filter, trees.source, "").sort()).toEqual(listed(root, [`--filter=- ${text}`]));
        }),
        { seed, numRuns: 100 * scale },
      );
    });
  }, 600_000);

  it("takes the same names", () => {
    fc.assert(
      fc.property(leaves, givens, (list, rules) => {
        const { source } = treesOf(list.map((leaf) => ({ ...leaf, on: "source" })));
        withTrees({ source, target: new Map() }, (root) => {
          const taken = listed(root, optionsOf(root, rules));
          expect(takenBelow(filterOf(rules), source, "").sort()).toEqual(taken);
        });
      }),
      { seed, numRuns: 60 * scale },
    );
  }, 600_000);

  it("keeps the same names from --delete", () => {
    fc.assert(
      fc.property(leaves, givens, (list, rules) => {
        const trees = treesOf(list);
        withTrees(trees, (root) => {
          const { stderr } = rsync(root, ["-a", "--delete", ...optionsOf(root, rules)]);
          expect(stderr).toBe("");
          const filter = filterOf(rules);
          const stays = staysBelow(filter, trees, { parent: "", fate: "kept" });
          const expected = new Set([...takenBelow(filter, trees.source, ""), ...stays]);
          expect(readTree(bytes(join(root, "target"))).sort()).toEqual([...expected].sort());
        });
      }),
      { seed, numRuns: 40 * scale },
    );
  }, 600_000);

  // prettier-ignore
  it.each(["- a", "-", "- ", "-_", "-a", "-,", "-, a", "exclude", "exclude a", "exclude,a", "excludea", "exclude\ta", "exclude,! a", "-!! a", "-ss a", "-e a", "-n a", "+w a", "H a", "Hs a", "P,r a", "H!p a", "h a", "x a", "a", " - a", "!", "! ", "!a", "!,", "clear", "clear ", "clear_", "clear,", ".- f", ".-+ f", ".! f", ".", "merge", "merge,e"])(
    "accepts or refuses the rule %j likewise",
    (rule) => {
      const accepts = withTrees({ source: new Map(), target: new Map() }, (root) => {
        writeFileSync(join(root, "f"), "");
        return rsync(root, ["-an", `--filter=${rule.replace(/ f$/, ` ${root}/f`)}`]).status === 0;
      });
      const parse = (): Filter => parseFilter([argument("filter", rule)], () => Buffer.alloc(0));
      if (accepts) expect(parse).not.toThrow();
      else expect(parse).toThrow(FilterSyntaxError);
    },
  );
});
