import { describe, expect, it } from "vitest";
import { orderUnits } from "../../src/stats/chain.ts";
import type { Unit } from "../../src/tree/snapshots.ts";

function ordered(...paths: [string, number][]): string[] {
  const units = paths.map(([path, mtimeNs]): Unit => {
    const type = path.startsWith("-") ? "directory" : "snapshot";
    return { type, path: Buffer.from(path), mtimeNs: BigInt(mtimeNs), inode: "" };
  });
  return orderUnits(units).map(
    ({ unit, hasNeighbour }) => `${unit.path.toString()}${hasNeighbour ? " >" : ""}`,
  );
}

describe("snapshots in the order in which they were made", () => {
  it("are numbered within a series, and the series with the newest comes first", () => {
    expect(
      ordered(
        ["daily.10", 1],
        ["daily.9", 2],
        ["weekly.0", 3],
        ["hourly.1", 19],
        ["hourly.0", 20],
        ["daily.0", 10],
      ),
    ).toEqual(["hourly.0 >", "hourly.1 >", "daily.0 >", "daily.9 >", "daily.10 >", "weekly.0"]);
  });

  it("are one chain across rsnapshot's intervals, and no other series", () => {
    expect(
      ordered(
        ["www.0", 9],
        ["www.1", 8],
        ["mail.0", 7],
        ["mail.1", 2],
        ["hourly.0", 6],
        ["vm.0", 5],
        ["daily.0", 3],
        ["www-2024-05-01", 1],
      ),
    ).toEqual([
      ...["www.0 >", "www.1", "mail.0 >", "mail.1", "hourly.0 >", "daily.0", "vm.0", "www-2024-05-01"],
    ]);
  });

  it("are numbered though a copy gave them times of its own", () => {
    expect(ordered(["daily.0", 1], ["daily.1", 2], ["daily.10", 3], ["daily.2", 4])).toEqual([
      "daily.0 >",
      "daily.1 >",
      "daily.2 >",
      "daily.10",
    ]);
  });

  it("are dated newest first, each container for itself, and other directories come last", () => {
    expect(
      ordered(
        ["-other", 99],
        ["b/2024-05-01", 5],
        ["a/2024-05-01", 1],
        ["a/2024-05-02", 2],
        ["b/2024-04-30", 4],
      ),
    ).toEqual(["b/2024-05-01 >", "b/2024-04-30", "a/2024-05-02 >", "a/2024-05-01", "-other"]);
  });
});
