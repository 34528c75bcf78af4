import { describe, expect, test } from "vitest";
import { closingReport } from "../../src/report/closing-report.ts";
import type { Summary } from "../../src/report/events.ts";
import { sampleSummary, sampleVerifySummary } from "./sample.ts";

const report = (summary: Partial<Summary> = {}): string =>
  closingReport(sampleSummary(summary), new Map([["EACCES", 3]])).join("\n");

test("a run that went well", () => {
  expect(report()).toBe(`
Finished after 12 min 3 s.

  snapshots  30: 30 new
  names      5,012,345, 12,345 directories among them
  inodes     123,456 in the source, directories not counted
  content    12.3 GB in the source, each inode counted once
  read       12.3 GB from the source
  written    11.8 GB in 110,000 new inodes
  linked     4,890,000 names
  merged     13,456 source inodes share an inode with their equals, 500 MB less
  saved      357 GB: a copy without hard links takes 369 GB

Everything copied is on the disk: /mnt/new is safe to unmount and unplug.
Next, before the source goes: have the two compared (with the filters of this run, if it had any):
  dedupe verify --against /mnt/old /mnt/new
Deleting a snapshot on the target frees no space by itself: the store keeps its content until
  dedupe compact /mnt/new`);
});

test("one line for the link limit", () => {
  const text = report({ siblings: 2, linkLimit: 65_000 });
  expect(text).toMatch(/link limit +2 further inodes opened: the target allows 65,000 links to one inode\n/);
});

test("one line for all that could not be kept", () => {
  const text = report({ lostOwners: 1, lostXattrs: 3000, lostDevices: 2 });
  expect(text).toMatch(
    /not kept +the owner of 1 inode, 3,000 extended attributes, 2 device nodes \(this user may not read or set/,
  );
});

test("what --delete removed", () => {
  expect(report({ deletedNames: 7 })).toMatch(/removed +7 names that the source no longer has/);
});

test("what --remove-source-files removed, and what is left to do instead of comparing", () => {
  const text = report({ removedSourceNames: 1234 });
  expect(text).toMatch(/moved +1,234 names removed from the source, each read back from the target first/);
  expect(text).toContain("find /mnt/old -mindepth 1 -type d -empty -delete");
  expect(text).not.toContain("dedupe verify");
});

test("a single merger", () => {
  const one = { mergedInodes: 1, mergedBytes: 500 };
  expect(report(one)).toMatch(/merged +1 source inode shares an inode with its equal, 500 B less/);
  expect(report({ ...one, dryRun: true })).toMatch(/1 source inode would share an inode with its equal/);
});

test("rows of which there is nothing to tell are not there", () => {
  expect(report({ mergedInodes: 0, plainCopyBytes: 0 })).not.toMatch(
    /merged|saved|link limit|removed|not kept|moved|skipped/,
  );
});

test("a run with failures says how many, why, and that it tries them again", () => {
  const text = report({ outcome: "partial", failures: 3, exitCode: 3 });
  expect(text).toContain("Finished after 12 min 3 s, but 3 entries could not be handled.");
  expect(text).toMatch(/skipped +3 entries: 3 EACCES/);
  expect(text).toContain("run the same command again; it tries only those entries again");
  expect(text).toContain("safe to unmount");
  expect(text).not.toContain("dedupe verify");
});

test("--strict without a failed entry does not promise that a second run helps", () => {
  const text = report({ outcome: "partial", failures: 0, lostOwners: 3, exitCode: 3 });
  expect(text).toContain("but not all was kept.");
  expect(text).not.toContain("run the same command");
});

describe("a run that ended early", () => {
  const snapshots = { total: 30, new: 3, updated: 0, unchanged: 1, incomplete: 0, pending: 26 };

  test.each([
    [129, "SIGHUP"],
    [130, "SIGINT"],
    [143, "SIGTERM"],
  ])("by exit code %d was stopped by %s and says how to go on", (exitCode, signal) => {
    const text = report({ outcome: "stopped", exitCode, snapshots });
    expect(text).toContain(`Stopped by ${signal} after 12 min 3 s; 4 of 30 snapshots done.`);
    expect(text).toContain("30: 3 new, 1 unchanged, 26 pending");
    expect(text).toContain("To go on, run the same command again.");
  });

  test("by an error promises no safe unplugging", () => {
    const text = report({ outcome: "failed", exitCode: 1, snapshots });
    expect(text).toContain("Failed after 12 min 3 s; 4 of 30 snapshots done.");
    expect(text).not.toContain("unplug");
  });
});

test("a dry run says would and nothing about unplugging", () => {
  const text = report({ dryRun: true, deletedNames: 1, siblings: 1 });
  expect(text).toContain("Dry run finished after 12 min 3 s: nothing was changed.");
  expect(text).toMatch(/would write +11.8 GB in 110,000 new inodes/);
  expect(text).toMatch(/would link +4,890,000 names/);
  expect(text).toMatch(/would remove +1 name /);
  expect(text).toMatch(/1 further inode would be opened/);
  expect(text).toMatch(/Run the same command without --dry-run to do it\.$/);
});

test("paths are quoted for the shell and escaped for the terminal", () => {
  const text = report({ source: "my disk/", target: "/mnt/a\x1bb" });
  expect(text).toContain("'my disk/' $'/mnt/a\\x1bb'");
  expect(text).not.toContain("\x1b");
});

test.each([
  [{ findings: { content: 1 }, failures: 0 }, "2 names of what was found"],
  [{ findings: {}, failures: 1 }, "2 names of what could not be read"],
  [{ findings: { content: 1 }, failures: 1 }, "2 names of what was found or could not be read"],
])("affected names are those of %j", (found, text) => {
  const summary = sampleVerifySummary({ mode: "store", outcome: "partial", affectedNames: 2, ...found });
  expect(closingReport(summary, new Map()).join("\n")).toMatch(new RegExp(`^  affected +${text}$`, "m"));
});
