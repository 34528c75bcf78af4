import { describe, expect, it } from "vitest";
import { closingReport } from "../../src/report/closing-report.ts";
import { createHumanReporter } from "../../src/report/human.ts";
import { sampleStatsSummary } from "./sample.ts";

const report = (summary: Parameters<typeof sampleStatsSummary>[0] = {}): string =>
  closingReport(sampleStatsSummary(summary), new Map([["EACCES", 2]])).join("\n");

describe("the report of stats", () => {
  it("says what is freed, what links and merging save, and what the store holds", () => {
    expect(report().split("\n")).toEqual([
      "",
      "Finished after 1.2 s.",
      "",
      "  names        157,744, 12,345 directories among them",
      "  inodes       9,700, directories not counted",
      "  on the disk  300 MB, of which 40 MB in one snapshot alone",
      "  links save   2.75 GB: 250 MB of content, 3 GB without hard links",
      "  merging      1 MB of that: of 9,600 source inodes in the index 100 became one with an equal",
      "  store        9,500 objects; 3 MB for itself",
      "  unnamed      12 objects that no snapshot names any more, 34 MB: to be freed",
      "  if deleted   daily.20..daily.29 (10 snapshots, 52,000 names) would free 20 MB in 700 inodes",
      "  link limit   900 of 65,000 links at most",
      "",
      "The store holds what a deleted snapshot had until it is compacted:",
      "  dedupe compact /mnt/new",
    ]);
  });

  it.each([
    [{ index: "missing" }, "not known, as the index is not there"],
    [{ index: "locked" }, "not known, as another run is using the index"],
    [{ index: "damaged" }, "not known, as the index is damaged"],
    [{ indexedInodes: 0, mergedInodes: 0 }, "not known, as the index remembers no source"],
    [{ store: "missing" }, "none (.dedupe is not there)"],
    [{ store: "hidden" }, "may not be read by this user"],
    [{ siblings: 3 }, "9,500 objects, 3 siblings among them"],
    [{ linkLimit: 0 }, "none is known here; the most links of one inode are 900"],
    [{ nearLimitInodes: 2 }, "2 inodes may pass the limit with the next snapshot"],
    [{ elsewhereInodes: 1, elsewhereBytes: 4096 }, "1 inode (4.1 kB) with names outside"],
    [{ twiceInodes: 1 }, "1 inode reached twice through a mount"],
    [{ brokenChains: 1 }, "  dedupe relink --dry-run /mnt/new"],
    [
      { brokenChains: 1, merge: "all", ignored: ["time", "owner"] },
      "  dedupe relink --dry-run --ignore-time --ignore-owner /mnt/new",
    ],
    [{ outcome: "partial", failures: 2 }, "but 2 entries could not be read: they are in no figure"],
    [{ outcome: "partial", failures: 2 }, "could not read  2 entries: 2 EACCES"],
  ] as const)("of %j says: %s", (summary, sentence) => {
    expect(report(summary)).toContain(sentence);
  });

  it.each([
    [
      { outcome: "stopped", exitCode: 130 },
      "Stopped by SIGINT after 1.2 s: without all names there are no figures.",
    ],
    [{ outcome: "failed" }, "Failed after 1.2 s."],
  ] as const)("of %j has no figures", (summary, headline) => {
    expect(report(summary)).toBe(`\n${headline}`);
  });

  it("names no relink where the store merges nothing", () => {
    expect(report({ brokenChains: 1, merge: "none", ignored: [] })).not.toContain("relink");
  });

  it("prints names so that a terminal does nothing with them", () => {
    let out = "";
    const screen = { out: (text: string) => (out += text), err: () => undefined };
    const view = { screen, progress: undefined, quiet: false, verbose: false, logFile: undefined };
    const reporter = createHumanReporter(view);
    const path = Buffer.from("daily.0/\x1b[2J\n");
    const figures = { names: 2, directories: 1, inodes: 1, bytes: 5000, aloneBytes: 4000, sharedBytes: 1000 };
    reporter.emit({
      ...{ type: "holding", path, kind: "snapshot", aloneInodes: 1, plainBytes: 1, isInSet: false },
      ...figures,
    });
    reporter.emit({ type: "largest", path, snapshot: path, bytes: 5000, sizeBytes: 4999, names: 3 });
    const chain = { inodes: 20, sharedInodes: 1, sharedBytes: 1 };
    reporter.emit({ type: "broken-chain", path, neighbour: path, ...chain });
    reporter.emit(sampleStatsSummary());
    const name = String.raw`daily.0/\x1b[2J\n`;
    expect(out).toContain(`    2       1   5 kB   4 kB    1 kB  ${name}\n`);
    expect(out).toContain(`  5 kB  ${name} (3 names)\n`);
    expect(out).toContain(
      `broken chain: ${name} shares 1 of 20 files with ${name}, which was made before it\n`,
    );
  });
});
