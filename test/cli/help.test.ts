import { readFileSync, writeFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { parseCommandLine, usedExitCodes } from "../../src/cli/command-line.ts";
import { exitCodes } from "../../src/exit-codes.ts";
import { longName } from "../../src/options/common.ts";
import { migrateOptionSpecs } from "../../src/options/migrate.ts";
import { compactOptionSpecs } from "../../src/options/compact.ts";
import { verifyOptionSpecs } from "../../src/options/verify.ts";
import { relinkOptionSpecs } from "../../src/options/relink.ts";
import { statsOptionSpecs } from "../../src/options/stats.ts";
import { zeroCounters, zeroRelinkCounters } from "../../src/report/events.ts";
import {
  sampleCompactSummary,
  sampleStatsSummary,
  sampleSummary,
  sampleVerifySummary,
} from "../report/sample.ts";

const file = new URL("../../docs/cli.md", import.meta.url);

function printed(...argv: string[]): string {
  let text = "";
  const options = parseCommandLine({
    argv,
    version: "0.1.0",
    print: (more) => (text += more),
    helpColumns: 80,
  });
  expect(options).toBeUndefined();
  return text;
}

/** What stands, or should stand, between the markers of docs/cli.md. */
const blocks: Record<string, () => string> = {
  help: () => `\`\`\`\n${printed("migrate", "--help")}\`\`\`\n`,
  "help-verify": () => `\`\`\`\n${printed("verify", "--help")}\`\`\`\n`,
  "help-compact": () => `\`\`\`\n${printed("compact", "--help")}\`\`\`\n`,
  "help-relink": () => `\`\`\`\n${printed("relink", "--help")}\`\`\`\n`,
  "help-stats": () => `\`\`\`\n${printed("stats", "--help")}\`\`\`\n`,
  "exit-codes": () =>
    usedExitCodes()
      .map(({ code, meaning }) => `| ${code} | ${meaning} |\n`)
      .join(""),
};

const between = (name: string): RegExp => new RegExp(`(<!-- ${name} -->\n)([^]*?)(<!-- /${name} -->)`);

beforeAll(() => {
  if (process.env["UPDATE_GOLDEN"] !== "1") return;
  const update = (text: string, [name, make]: [string, () => string]): string =>
    text.replace(between(name), (_, open: string, _old: string, close: string) => open + make() + close);
  writeFileSync(file, Object.entries(blocks).reduce(update, readFileSync(file, "utf8")));
});

const docs = (): string => readFileSync(file, "utf8");

describe("docs/cli.md", () => {
  test.each(Object.keys(blocks))(
    "has the %s block as the program prints it (else: UPDATE_GOLDEN=1)",
    (name) => {
      expect(between(name).exec(docs())?.[2]).toBe(blocks[name]?.());
    },
  );

  test("has every option in its table", () => {
    const table = docs().slice(docs().indexOf("## Options"), docs().indexOf("## Exit codes"));
    const missing = [...migrateOptionSpecs, ...verifyOptionSpecs, ...compactOptionSpecs]
      .map(({ flags }) => `--${longName(flags)}`)
      .filter((long) => !table.includes(long));
    expect(missing).toEqual([]);
  });

  test("has every counter and every field of the summary", () => {
    const schema = docs().slice(docs().indexOf("## JSON"));
    const counters = { ...zeroCounters(), ...zeroRelinkCounters(), timeLimit: false };
    const fields = [...Object.keys(counters), ...Object.keys(sampleSummary()), "error"];
    expect(fields.filter((field) => !schema.includes(`\`${field}\``))).toEqual([]);
    const verify = Object.keys(sampleVerifySummary());
    expect(verify.filter((field) => !schema.includes(`\`${field}\``))).toEqual([]);
    const ofStats = Object.keys(sampleStatsSummary());
    expect(ofStats.filter((field) => !schema.includes(`\`${field}\``))).toEqual([]);
    const summary = sampleCompactSummary();
    const ofCompact = [summary, ...Object.values(summary)].flatMap((value) =>
      typeof value === "object" && !Array.isArray(value) ? Object.keys(value) : [],
    );
    expect(ofCompact.filter((field) => !schema.includes(`\`${field}\``))).toEqual([]);
  });
});

describe("help", () => {
  test("has every option", () => {
    const text = printed("migrate", "--help");
    for (const { flags } of migrateOptionSpecs) expect(text).toContain(`  ${flags}`);
    const verify = printed("verify", "--help");
    for (const { flags } of verifyOptionSpecs) expect(verify).toContain(`  ${flags}`);
    const ofRelink = printed("relink", "--help");
    for (const { flags } of relinkOptionSpecs) expect(ofRelink).toContain(`  ${flags}`);
    const ofCompact = printed("compact", "--help");
    for (const { flags } of compactOptionSpecs) expect(ofCompact).toContain(`  ${flags}`);
    const documented = docs();
    const ofStats = printed("stats", "--help");
    for (const { flags } of statsOptionSpecs) expect(ofStats).toContain(`  ${flags}`);
    for (const { flags } of [...relinkOptionSpecs, ...statsOptionSpecs])
      expect(documented).toContain(`--${longName(flags)}`);
  });

  const commands = ["migrate", "relink", "compact", "verify", "stats"];

  test.each([["--help"], ["-h"], ...commands.map((command) => [command, "--help"])])(
    "%j ends with the exit codes and two examples",
    (...argv) => {
      const text = printed(...argv);
      const tail = text.slice(text.indexOf("Exit codes:"));
      expect(tail.match(/^ {2}(\d+) /gm)?.map(Number)).toEqual([0, 1, 2, 3, 4, 5, 129, 130, 143]);
      expect(tail.match(/^ {2}dedupe (migrate|relink|compact|verify|stats) /gm)).toHaveLength(2);
    },
  );

  test("fits a terminal of 80 columns", () => {
    const long = commands
      .map((command) => printed(command, "--help"))
      .join("\n")
      .split("\n")
      .filter((line) => line.length > 80);
    expect(long).toEqual([]);
  });
});

test("exit codes of signals are 128 and the signal's number", () => {
  expect(
    [exitCodes.hangup, exitCodes.interrupted, exitCodes.terminated].map(({ code }) => code - 128),
  ).toEqual([1, 2, 15]);
});

test.each(["-V", "--version"])("%s prints the version", (flag) => {
  expect(printed(flag)).toBe("dedupe 0.1.0\n");
});
