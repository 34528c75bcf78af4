/** The language of src/tree/filter.ts, sentence by sentence of rsync's manual. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterSyntaxError, filterFrom, parseFilter } from "../../src/tree/filter.ts";
import type { EntryKind, Filter, RuleSource } from "../../src/tree/filter.ts";

const seed = 20_261_123;

/** Test texts are latin1: one character, one byte. */
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

const argument = (type: "exclude" | "include" | "filter", text: string): RuleSource => ({
  type,
  pattern: bytes(text),
  origin: `--${type}`,
});

const withExcludes = (...patterns: string[]): Filter =>
  parseFilter(patterns.map((pattern) => argument("exclude", pattern)));
const withFilters = (...rules: string[]): Filter =>
  parseFilter(rules.map((rule) => argument("filter", rule)));

/** A name that ends with a slash is a directory. */
function entry(name: string): [Buffer, EntryKind] {
  return name.endsWith("/") ? [bytes(name.slice(0, -1)), "directory"] : [bytes(name), "other"];
}

const takes = (filter: Filter, name: string): boolean => filter.takes(...entry(name));
const protects = (filter: Filter, name: string): boolean => filter.protects(...entry(name));
const takenOf = (filter: Filter, names: readonly string[]): string[] =>
  names.filter((name) => takes(filter, name));

/** `yes` and `no` are what the pattern matches and what it does not, separated by spaces. */
// prettier-ignore
const patterns: readonly { says: string; pattern: string; yes: string; no: string }[] = [
  { says: "without a slash it is matched against the last name", pattern: "foo", yes: "foo foo/ a/foo a/b/foo/", no: "foo/a afoo fooa a" },
  { says: "with a slash it is matched against the last names of the path", pattern: "foo/bar", yes: "foo/bar a/foo/bar/", no: "foo bar afoo/bar foo/a/bar foo/bar/a" },
  { says: "with a trailing slash it matches directories alone", pattern: "foo/", yes: "foo/ a/foo/", no: "foo a/foo" },
  { says: "with a slash inside and one at the end likewise", pattern: "foo/bar/", yes: "foo/bar/ a/foo/bar/", no: "foo/bar" },
  { says: "with a leading slash it is anchored at the root", pattern: "/foo", yes: "foo foo/", no: "a/foo" },
  { says: "anchored and longer", pattern: "/foo/bar", yes: "foo/bar", no: "a/foo/bar foo bar" },
  { says: "? matches any byte except a slash", pattern: "a?b", yes: "a?b axb x/a\xffb", no: "ab a/b axxb" },
  { says: "* matches no slash", pattern: "/a*b", yes: "ab axxb", no: "a/b axx/b c/ab" },
  { says: "a name ending", pattern: "*.o", yes: ".o a.o a/b.o a.o/", no: "a.oo a.o/b o" },
  { says: "* alone matches everything", pattern: "*", yes: "a a/b/c a/ .x", no: "" },
  { says: "** matches slashes", pattern: "/a**b", yes: "ab a/b axx/y/b", no: "c/ab a" },
  { says: "** without a slash is matched against the full path", pattern: "a**b", yes: "ab a/b x/a/y/b", no: "xab/c xa/b" },
  { says: "a leading ** begins anywhere", pattern: "**b", yes: "b ab a/b a/cb", no: "b/a" },
  { says: "**/ matches at the root too", pattern: "**/foo", yes: "foo a/foo a/b/foo", no: "afoo foo/a" },
  { says: "/foo/** is everything below foo, not foo", pattern: "/foo/**", yes: "foo/a foo/a/b", no: "foo/ a/foo/b" },
  { says: "/foo/**/bar is two or more levels below", pattern: "/foo/**/bar", yes: "foo/a/bar foo/a/b/bar", no: "foo/bar" },
  { says: "foo/*/bar is two levels below a foo", pattern: "foo/*/bar", yes: "foo/a/bar x/foo/a/bar/", no: "foo/bar foo/a/b/bar" },
  { says: "dir/*** is the directory and all in it", pattern: "/dir/***", yes: "dir/ dir/a dir/a/b/", no: "dir a/dir/" },
  { says: "dir/*** not anchored", pattern: "dir/***", yes: "dir/ a/dir/ a/dir/b", no: "dir xdir/" },
  { says: "a class matches one of its bytes", pattern: "[ab]", yes: "a b x/a", no: "c ab" },
  { says: "a class has ranges", pattern: "[a-cx]", yes: "a b c x", no: "d -" },
  { says: "- first or last in a class is itself", pattern: "[-a-]", yes: "- a", no: "b" },
  { says: "] first in a class is itself", pattern: "[]a]", yes: "] a", no: "b" },
  { says: "! negates a class", pattern: "[!ab]", yes: "c \xff", no: "a b cc" },
  { says: "^ negates a class", pattern: "[^ab]", yes: "c !", no: "a b" },
  { says: "a negated class takes no slash", pattern: "/a[!b]c", yes: "axc", no: "a/c" },
  { says: "a class may hold named classes", pattern: "[[:alpha:]_]", yes: "a Z _", no: "1 \xe9 :" },
  { says: "named classes can be negated", pattern: "[![:digit:]]x", yes: "ax \xe9x", no: "1x x" },
  { says: "a range of high bytes", pattern: "[\x80-\xff]", yes: "\x80 \xe9 \xff", no: "a" },
  { says: "a backslash escapes in a class", pattern: "[\\]\\-a]", yes: "] - a", no: "\\ b" },
  { says: "an unknown class name matches nothing", pattern: "[[:bogus:]a]", yes: "", no: "a [ b" },
  { says: "a class that is not closed matches nothing", pattern: "a[b", yes: "", no: "ab a[b a" },
  { says: "a backslash is plain without a wildcard", pattern: "foo\\bar", yes: "foo\\bar", no: "foobar foo\\\\bar" },
  { says: "a backslash escapes where a wildcard is", pattern: "foo\\bar*", yes: "foobar foobarx", no: "foo\\bar" },
  { says: "a doubled backslash is one where a wildcard is", pattern: "foo\\\\bar*", yes: "foo\\bar", no: "foobar" },
  { says: "an escaped wildcard is itself", pattern: "a\\*b", yes: "a*b", no: "axb a\\*b" },
  { says: "a backslash at the end matches nothing", pattern: "a*\\", yes: "", no: "a a\\" },
  { says: "names are bytes, not UTF-8", pattern: "?", yes: "\xc3 a", no: "\xc3\xa9" },
  { says: "* before a ** elsewhere begins at any name", pattern: "*b/**", yes: "ab/c x/ab/c x/y/b/c", no: "ab/ b" },
  { says: "an escape after * is one", pattern: "*\\.o", yes: "a.o", no: "axo" },
  { says: "a slash in a class counts as one and so nothing has enough names", pattern: "[/a]", yes: "", no: "a x/a" },
  { says: "a slash alone matches nothing", pattern: "/", yes: "", no: "a a/" },
];

const words = (text: string): string[] => text.split(" ").filter((word) => word !== "");

describe("a pattern", () => {
  it.each(patterns)("$says: $pattern", ({ pattern, yes, no }) => {
    const filter = withExcludes(pattern);
    expect(takenOf(filter, [...words(yes), ...words(no)])).toEqual(words(no));
  });

  it.each([
    ["alnum", "09AZaz", "_ \x80"],
    ["alpha", "AZaz", "0@[`{"],
    ["blank", " \t", "\n\r_"],
    ["cntrl", "\x01\x1f\x7f", " ~\x80"],
    ["digit", "09", "/:a"],
    ["graph", "!~", " \x7f\x80"],
    ["lower", "az", "AZ`{"],
    ["print", " ~", "\x1f\x7f"],
    ["punct", "!,:@[`{~", "0Aa "],
    ["space", " \t\n\v\f\r", "\x08a"],
    ["upper", "AZ", "az@["],
    ["xdigit", "09AFaf", "Gg"],
  ])("knows the class [:%s:]", (name, members, others) => {
    const filter = withExcludes(`[[:${name}:]]`);
    const names = Array.from(members + others).filter((character) => character !== "/");
    expect(takenOf(filter, names).join("")).toBe(others.replace("/", ""));
  });

  /** The definition itself, tried in every way. */
  function matchesSlowly(pattern: string, text: string): boolean {
    if (pattern === "") return text === "";
    const stars = /^\*+/.exec(pattern)?.[0];
    if (stars !== undefined) {
      const rest = pattern.slice(stars.length);
      return (
        matchesSlowly(rest, text) ||
        (text !== "" && (stars.length > 1 || text[0] !== "/") && matchesSlowly(stars + rest, text.slice(1)))
      );
    }
    if (text === "" || (pattern[0] === "?" ? text[0] === "/" : text[0] !== pattern[0])) return false;
    return matchesSlowly(pattern.slice(1), text.slice(1));
  }

  it("finds a match of stars wherever there is one", () => {
    const piece = fc.constantFrom("a", "b", "a", "b", "/", "?", "*", "**");
    const text = fc.array(fc.constantFrom("a", "b", "a", "/"), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 9 }), text, (pieces, characters) => {
        const path = characters
          .join("")
          .replaceAll(/\/+/g, "/")
          .replaceAll(/^\/|\/$/g, "");
        const pattern = pieces
          .join("")
          .replaceAll(/\/+/g, "/")
          .replaceAll(/^\/|\/$/g, "");
        fc.pre(path !== "" && pattern !== "");
        expect(!withExcludes(`/${pattern}`).takes(bytes(path), "other")).toBe(matchesSlowly(pattern, path));
      }),
      { seed, numRuns: 20_000 },
    );
  });

  it.each([
    ["a*".repeat(100), "a".repeat(255)],
    [`**${"a*".repeat(1000)}b`, `${"a".repeat(250)}/`.repeat(16)],
    [`${"**a".repeat(1300)}b`, "a".repeat(4000)],
    [`${"*a/**".repeat(800)}b`, "a/".repeat(2000)],
    [`**/${"?*a".repeat(500)}**b`, "aa/".repeat(1300)],
    [`${"[a-z]*".repeat(600)}/**b`, `${"a".repeat(250)}/`.repeat(16)],
  ])("is matched in reasonable time however it is made (%#)", (pattern, text) => {
    const filter = withExcludes(pattern);
    const start = performance.now();
    filter.takes(bytes(`${text}c`), "other");
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe("the order of rules", () => {
  it("takes what no rule matches", () => {
    expect(takes(withExcludes("foo"), "bar")).toBe(true);
    expect(takes(parseFilter([]), "bar")).toBe(true);
  });

  it("lets the first match decide", () => {
    const filter = parseFilter([
      argument("include", "a.c"),
      argument("exclude", "*.c"),
      argument("include", "b.c"),
    ]);
    expect(takenOf(filter, ["a.c", "b.c", "x/a.c", "c.h"])).toEqual(["a.c", "x/a.c", "c.h"]);
  });

  it("includes all directories and C files and nothing else, as in the manual", () => {
    const filter = withFilters("+ */", "+ *.c", "- *");
    expect(takenOf(filter, ["a/", "a/b.c", "a/b.h", "c"])).toEqual(["a/", "a/b.c"]);
  });

  it("includes only foo and foo/bar.c, as in the manual", () => {
    const filter = withFilters("+ foo/", "+ foo/bar.c", "- *");
    expect(takenOf(filter, ["foo/", "foo/bar.c", "foo/x", "bar/", "bar.c"])).toEqual(["foo/", "foo/bar.c"]);
  });

  it("never filters the root", () => {
    expect(withFilters("- *").takes(Buffer.alloc(0), "directory")).toBe(true);
    expect(withFilters("- *").protects(Buffer.alloc(0), "directory")).toBe(false);
  });

  it("forgets the rules before a clear rule", () => {
    for (const clear of ["!", "clear", "!,"]) {
      expect(takenOf(withFilters("- a", clear, "- b"), ["a", "b"])).toEqual(["a"]);
    }
    expect(withExcludes("a", "!").isEmpty).toBe(true);
    expect(takes(withExcludes("!a"), "!a")).toBe(false);
  });
});

describe("the form of a rule", () => {
  // prettier-ignore
  it.each(["- foo", "-_foo", "-,_foo", "exclude foo", "exclude_foo", "exclude, foo", "-s foo", "-,s foo", "hide foo", "H foo", "H_foo", "exclude,s_foo", "-sr foo"])(
    "takes %s as an exclude",
    (rule) => {
      expect(takenOf(withFilters(rule), ["foo", "bar"])).toEqual(["bar"]);
    },
  );

  it.each(["+ foo", "+_foo", "include foo", "+s foo", "show foo", "S foo", "S,p foo"])(
    "takes %s as an include",
    (rule) => {
      expect(takenOf(withFilters(rule, "- *"), ["foo", "bar"])).toEqual(["foo"]);
    },
  );

  it("keeps further spaces and underscores in the pattern", () => {
    expect(takenOf(withFilters("-  a", "-__b", "- c "), ["a", " a", "b", "_b", "c", "c "])).toEqual([
      "a",
      "b",
      "c",
    ]);
  });

  it("reads + and - before the pattern of --exclude and --include", () => {
    const filter = parseFilter([
      argument("exclude", "+ a"),
      argument("include", "- b"),
      argument("exclude", "*"),
      argument("exclude", "-_x"),
    ]);
    expect(takenOf(filter, ["a", "b", "c"])).toEqual(["a"]);
    expect(takenOf(withExcludes("-x", "-_y"), ["x", "-x", "y", "-_y"])).toEqual(["x", "y"]);
  });

  it("excludes all that is no directory with -! */", () => {
    expect(takenOf(withFilters("-! */"), ["a", "a/", "b/c", "b/c/"])).toEqual(["a/", "b/c/"]);
  });

  it("treats empty arguments as no rule", () => {
    expect(parseFilter([argument("exclude", ""), argument("filter", "")]).isEmpty).toBe(true);
  });

  it.each([
    ["-", "the rule has no pattern"],
    ["- ", "the rule has no pattern"],
    ["-foo", '"f" is no modifier of this rule; it takes ! p r s'],
    ["exclude\tfoo", '"\\t" is no modifier'],
    ["excludefoo", "no rule starts like this; there are - (exclude)"],
    ["P,r foo", '"r" is no modifier of this rule; it takes ! p'],
    ["! foo", "nothing may follow a clear rule"],
    ["clear_", "nothing may follow a clear rule"],
    ["-/ /etc/passwd", "modifier / (match the absolute path) is not supported"],
    ["-C", "modifier C (CVS) is not supported"],
    ["-x user.*", "modifier x (names of extended attributes) is not supported"],
    [": .rsync-filter", 'put the rules into one file and name it with "merge FILE"'],
    ["dir-merge,n- .excl", "dir-merge rules (files read in each directory) are not supported"],
    [". rules", "merge rules are not allowed here"],
    ["- a\0b", "a name has no NUL byte"],
  ])("refuses %j and says why", (rule, reason) => {
    expect(() => withFilters(rule)).toThrow(FilterSyntaxError);
    expect(() => withFilters(rule)).toThrow(reason);
    expect(() => withFilters(rule)).toThrow("--filter");
  });
});

describe("an overlong pattern", () => {
  it("is refused, where rsync discards it", () => {
    expect(withExcludes("a".repeat(4095)).isEmpty).toBe(false);
    expect(() => withExcludes("a".repeat(4096))).toThrow("a pattern has at most 4095 bytes");
  });
});

describe("rules from files", () => {
  const fromFile = (type: "exclude-from" | "include-from", contents: string): Filter =>
    parseFilter([{ type, contents: bytes(contents), origin: "list" }, argument("exclude", "z*")]);
  const merging = (files: Record<string, string>, ...rules: string[]): Filter =>
    parseFilter(
      rules.map((rule) => argument("filter", rule)),
      (name) => bytes(files[name] ?? ""),
    );

  it("skips blank lines and comments and ends lines at CR and LF", () => {
    const filter = fromFile("exclude-from", "# a\n; b\n\n\r\nc\r\nd\re\n+ f\n- g\n #h");
    expect(takenOf(filter, ["# a", "; b", "a", "b", "c", "d", "e", "f", "g", " #h"])).toEqual([
      "# a",
      "; b",
      "a",
      "b",
      "f",
    ]);
  });

  it("reads --include-from, + and - lines, and clears at a line !", () => {
    expect(takenOf(fromFile("include-from", "za\n- zb\n- c"), ["za", "zb", "zc", "c"])).toEqual(["za"]);
    expect(takenOf(fromFile("exclude-from", "a\n!\nb"), ["a", "b"])).toEqual(["a"]);
  });

  it("reads merge files in place, full rules inside, nested", () => {
    const files = { one: "# c\nP a\n. two\n- d", two: "+ zz\n- b\n" };
    const filter = merging(files, "merge one", "- z*");
    expect(takenOf(filter, ["a", "b", "d", "zz", "zy"])).toEqual(["a", "zz"]);
    expect(["a", "b", "zz"].map((name) => protects(filter, name))).toEqual([true, true, false]);
  });

  it("reads a merge file as patterns alone with - or +", () => {
    expect(takenOf(merging({ f: "+ a\n!\n# c\n- b" }, ".- f"), ["+ a", "!", "# c", "- b", "b"])).toEqual([
      "# c",
      "b",
    ]);
    expect(takenOf(merging({ f: "a" }, "merge,+_f", "- *"), ["a", "b"])).toEqual(["a"]);
  });

  it("splits a merge file into words with w", () => {
    expect(takenOf(merging({ f: " a\tb\n#c " }, ".-w f"), ["a", "b", "#c", "d"])).toEqual(["d"]);
    expect(takenOf(merging({ f: "- a + b\n-_* !" }, ".w f"), ["a", "b", "c"])).toEqual(["a", "b", "c"]);
    expect(takenOf(merging({ f: "- a + b\n-_*" }, ".w f"), ["a", "b", "c"])).toEqual(["b"]);
  });

  it("hands s, r and p down and excludes the file itself with e", () => {
    const filter = merging({ "d/f": "- a" }, ".es d/f");
    expect(takenOf(filter, ["a", "f", "d/f", "b"])).toEqual(["b"]);
    expect(["a", "f"].map((name) => protects(filter, name))).toEqual([false, true]);
    const perishable = merging({ f: "- a\n. g", g: "P b" }, ".p f");
    expect(perishable.rules.map((rule) => rule.perishable)).toEqual([true, true]);
  });

  it("says where in a file a bad rule stands", () => {
    expect(() => fromFile("exclude-from", "a\r\n\n- ")).toThrow(
      'list, line 3: filter rule "- ": the rule has no pattern',
    );
    expect(() => merging({ f: "a" }, ". f")).toThrow("f, line 1");
    expect(() => merging({ f: "- a b" }, ".w f")).toThrow("f, word 3");
    expect(() => merging({ f: "P a" }, ".s f")).toThrow("already says which side");
    expect(() => merging({ f: ". f" }, ". f")).toThrow("does f merge itself?");
    expect(() => merging({}, ".+- f")).toThrow("one, once");
    expect(() => merging({}, ". \xff")).toThrow("must be UTF-8");
  });

  it("passes on what reading a file throws", () => {
    const missing = (): Buffer => {
      throw new RangeError("no such file");
    };
    expect(() => parseFilter([argument("filter", ". f")], missing)).toThrow(RangeError);
  });
});

describe("protection from --delete", () => {
  it("comes from rules for both sides and from protect rules", () => {
    const filter = withFilters("- a", "H b", "-s c", "P d", "-r e", "-sr f");
    const names = ["a", "b", "c", "d", "e", "f", "g"];
    expect(names.filter((name) => protects(filter, name))).toEqual(["a", "d", "e", "f"]);
    expect(takenOf(filter, names)).toEqual(["d", "e", "g"]);
  });

  it("gives way to a risk rule or an include before it, not to a show rule", () => {
    const filter = withFilters("R a", "+ b", "S c", "- *");
    expect(["a", "b", "c", "d"].filter((name) => protects(filter, name))).toEqual(["c", "d"]);
    expect(takenOf(filter, ["a", "b", "c", "d"])).toEqual(["b", "c"]);
  });

  it("lapses for perishable rules inside a directory that is being deleted", () => {
    const filter = withFilters("-p a", "- b");
    expect(filter.takes(bytes("a"), "other")).toBe(false);
    expect(filter.protects(bytes("d/a"), "other")).toBe(true);
    expect(filter.protects(bytes("d/a"), "other", "doomed")).toBe(false);
    expect(filter.protects(bytes("d/b"), "other", "doomed")).toBe(true);
  });
});

describe("rules as plain data", () => {
  it("make the same filter after a structured clone", () => {
    const filter = withFilters("-! a*/", "+p /b/**", "P \xff[x]", "- *");
    const again = filterFrom(structuredClone(filter.rules));
    expect(again.rules).toEqual(filter.rules);
    for (const name of ["a/", "ab/", "c", "b/c", "\xffx", "d/\xffx"]) {
      expect([takes(again, name), protects(again, name)]).toEqual([
        takes(filter, name),
        protects(filter, name),
      ]);
    }
  });

  it("do not drag Buffer's pool along", () => {
    const [rule] = withFilters("- foo/").rules;
    expect(rule?.pattern.buffer.byteLength).toBe(3);
  });
});
