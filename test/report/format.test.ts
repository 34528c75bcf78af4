import { describe, expect, test } from "vitest";
import * as format from "../../src/report/format.ts";

const { formatPath, formatText, formatBytes, formatCount, formatDuration, quoteForShell, clip } = format;

const path = (text: string): string => formatPath(Buffer.from(text));

describe("formatPath", () => {
  test("leaves printable names of any script alone", () => {
    expect(path("daily.0/Übung/日本語 🎉.txt")).toBe("daily.0/Übung/日本語 🎉.txt");
  });

  test("shows controls and terminal escapes as text", () => {
    expect(path("a\nb\tc\r")).toBe("a\\nb\\tc\\r");
    expect(path("\x1b[2Jx\x07\x7f")).toBe("\\x1b[2Jx\\x07\\x7f");
  });

  test("shows C1 controls, which some terminals obey", () => {
    expect(path("\u009b31m")).toBe("\\xc2\\x9b31m");
  });

  test("shows what would reorder or hide the rest of the line", () => {
    expect(path("a\u202egnp.exe")).toBe("a\\xe2\\x80\\xaegnp.exe");
    expect(path("a\u2028b\ufeff")).toBe("a\\xe2\\x80\\xa8b\\xef\\xbb\\xbf");
  });

  test("tells a newline from a backslash and an n", () => {
    expect(path("a\\nb")).toBe("a\\\\nb");
  });

  test("shows bytes that are no UTF-8 and keeps the valid characters around them", () => {
    expect(formatPath(Buffer.from([0x61, 0xff, 0xc3, 0xa9, 0xe2, 0x82]))).toBe("a\\xffé\\xe2\\x82");
    expect(formatPath(Buffer.from([0xc0, 0x80, 0x0a, 0x5c, 0xed, 0xa0, 0x80]))).toBe(
      "\\xc0\\x80\\n\\\\\\xed\\xa0\\x80",
    );
  });

  test("gives every name of one byte a different text without controls", () => {
    const texts = Array.from({ length: 256 }, (_, byte) => formatPath(Buffer.from([byte])));
    expect(new Set(texts).size).toBe(256);
    expect(texts.join("")).toMatch(/^[\x20-\x7e]*$/);
  });

  test("reads a slice of a larger buffer, not the whole", () => {
    expect(formatPath(Buffer.from("xxdaily.0xx").subarray(2, 9))).toBe("daily.0");
  });
});

test("formatText escapes controls but not backslashes, which an escaped path brings along", () => {
  expect(formatText("cannot open a\\nb: \x1b[0m\n")).toBe("cannot open a\\nb: \\x1b[0m\\n");
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1 kB"],
  [12_345_678, "12.3 MB"],
  [4_000_000_000_000, "4 TB"],
])("formatBytes(%d) is %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test("formatCount groups thousands", () => {
  expect([0, 999, 1000, 10_000_000, 12.6].map(formatCount)).toEqual([
    "0",
    "999",
    "1,000",
    "10,000,000",
    "13",
  ]);
});

test("formatQuantity agrees in number", () => {
  const texts = [0, 1, 2000].map((count) => format.formatQuantity(count, "entry", "entries"));
  expect(texts).toEqual(["0 entries", "1 entry", "2,000 entries"]);
});

test.each([
  [-1, "0.0 s"],
  [430, "0.4 s"],
  [9_949, "9.9 s"],
  [9_950, "10 s"],
  [59_499, "59 s"],
  [59_600, "1 min"],
  [192_000, "3 min 12 s"],
  [3_599_900, "1 h"],
  [7_500_000, "2 h 5 min"],
  [273_600_000, "3 d 4 h"],
])("formatDuration(%d) is %s", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test.each([
  ["/mnt/new/", "/mnt/new/"],
  ["/mnt/my drive", "'/mnt/my drive'"],
  ["it's", String.raw`'it'\''s'`],
  ["-rf", "./-rf"],
  ["host:dir", "./host:dir"],
  ["/a:b", "/a:b"],
  ["a\nb'c", String.raw`$'a\nb\'c'`],
])("quoteForShell(%j) is %s", (given, quoted) => {
  expect(quoteForShell(given)).toBe(quoted);
});

test("clip counts wide characters as two columns", () => {
  expect(clip("abcdef", 4)).toBe("abcd");
  expect(clip("日本語", 5)).toBe("日本");
});
