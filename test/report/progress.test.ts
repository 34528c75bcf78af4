import { describe, expect, test } from "vitest";
import { createPaceMeter } from "../../src/report/pace.ts";
import { createBar, createPlainProgress, progressLine } from "../../src/report/progress.ts";
import { sampleCounters, sampleProgress, sampleStream } from "./sample.ts";

const pace = { namesPerSecond: 8123, bytesPerSecond: 45_000_000, remainingMs: 720_000 };

describe("progressLine", () => {
  test("shows snapshot, names, inodes, bytes, rates and the time left", () => {
    expect(progressLine(sampleProgress(), pace, Infinity)).toBe(
      "snapshot 3 of 30  daily.2  5,012,345 names  123,456 inodes  12.3 GB  8,123 names/s  45 MB/s  about 12 min left",
    );
  });

  test("drops the least important parts on a narrow terminal, never the snapshot", () => {
    expect(progressLine(sampleProgress(), pace, 75)).toBe(
      "snapshot 3 of 30  5,012,345 names  123,456 inodes  12.3 GB",
    );
    expect(progressLine(sampleProgress(), pace, 10)).toBe("snapshot 3 of 30");
  });

  test("never says snapshot 31 of 30", () => {
    const line = progressLine(sampleProgress({ snapshotsDone: 30 }), pace, Infinity);
    expect(line).toMatch(/^snapshot 30 of 30 /);
  });
});

describe("pace", () => {
  const at = (elapsedMs: number, snapshotsDone: number, names = 0, readBytes = 0) =>
    sampleProgress({ elapsedMs, snapshotsDone, counters: sampleCounters({ names, readBytes }) });

  test("rates are those of the last ten seconds", () => {
    const measure = createPaceMeter();
    measure(at(0, 0, 0, 0));
    measure(at(20_000, 0, 1_000_000, 1_000_000));
    expect(measure(at(25_000, 0, 1_005_000, 6_000_000))).toMatchObject({
      namesPerSecond: 1000,
      bytesPerSecond: 1_000_000,
    });
  });

  test("there is no time left to tell before one snapshot is through, nor when all are", () => {
    const measure = createPaceMeter();
    expect(measure(at(10_000, 0)).remainingMs).toBeUndefined();
    expect(measure(at(20_000, 1)).remainingMs).toBe(29 * 20_000);
    expect(measure(at(50_000, 30)).remainingMs).toBeUndefined();
  });

  test("a costly first snapshot is soon forgotten", () => {
    const measure = createPaceMeter();
    measure(at(100_000, 1));
    for (let done = 2; done <= 10; done += 1) measure(at(100_000 + done * 1000, done));
    expect(measure(at(110_100, 10)).remainingMs).toBeLessThan(20 * 2_500);
  });

  test("the time already spent on a snapshot counts", () => {
    const measure = createPaceMeter();
    measure(at(20_000, 1));
    expect(measure(at(30_000, 1)).remainingMs).toBe(28 * 20_000 + 10_000);
    expect(measure(at(90_000, 1)).remainingMs).toBe(28 * 20_000);
  });

  test("two events of the same moment give no infinite rate", () => {
    const measure = createPaceMeter();
    measure(at(5, 0, 1));
    expect(measure(at(5, 0, 900)).namesPerSecond).toBe(0);
  });
});

describe("without a terminal", () => {
  test("one line a minute", () => {
    const lines: string[] = [];
    const progress = createPlainProgress((line) => lines.push(line));
    for (let second = 0; second <= 150; second += 1) {
      progress.update(sampleProgress({ elapsedMs: second * 1000 }));
    }
    expect(lines.map((line) => line.split(":")[0])).toEqual(["1 min", "2 min"]);
    expect(lines[0]).toContain("snapshot 3 of 30  daily.2  5,012,345 names");
  });
});

describe("on a terminal", () => {
  test("the bar makes room for a line and comes back below it", () => {
    const stream = sampleStream({ isTTY: true, columns: 60 });
    const bar = createBar(stream);
    bar.update(sampleProgress());
    bar.above(() => stream.write("snapshot 3 of 30\n"));
    bar.stop();
    expect(stream.text()).toMatch(
      /^\r\x1b\[Ksnapshot 3 of 30\n.*\[=-+\] snapshot 3 of 30 {2}5,012,345 names/s,
    );
    expect(stream.text()).toMatch(/\x1b\[0J$/);
  });

  test("nothing is drawn before the first event, nor after the end", () => {
    const stream = sampleStream({ isTTY: true });
    const bar = createBar(stream);
    bar.above(() => stream.write("first\n"));
    bar.stop();
    bar.update(sampleProgress());
    bar.above(() => stream.write("last\n"));
    expect(stream.text()).toBe("first\nlast\n");
  });

  test("a bar fits its line, whatever the name", () => {
    const stream = sampleStream({ isTTY: true, columns: 40 });
    const bar = createBar(stream);
    bar.update(sampleProgress({ snapshot: Buffer.from(`\x1b]0;${"語".repeat(80)}`) }));
    bar.above(() => undefined);
    bar.stop();
    const drawn = stream
      .text()
      .split("\x1b[1G")
      .filter((part) => part.startsWith("["));
    for (const line of drawn) expect(line.replaceAll(/\x1b\[0[KJ]/g, "").length).toBeLessThan(40);
    expect(drawn.length).toBeGreaterThan(0);
    expect(stream.text()).not.toContain("\x1b]0;");
  });
});
