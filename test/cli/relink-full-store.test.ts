import { execFileSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compactWell } from "../support/compact.ts";
import { dedupe } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { fill } from "../support/fill.ts";
import { relink, relinkWell } from "../support/relink.ts";
import { flip, objectOf } from "../support/store-objects.ts";
import { verify } from "../support/verify.ts";

const MIB = 2 ** 20;

const shell = (cwd: string, commands: string): void => {
  execFileSync("sh", ["-ec", commands], { cwd });
};

/** A root on an ext4 of 64 MiB that is full once `prepare` is done. */
async function withFull(
  prepare: (root: string) => void,
  test: (root: string) => void,
  options: readonly string[] = [],
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB, options }, (mount) => {
    const root = join(mount, "root");
    mkdirSync(join(root, "daily.0"), { recursive: true });
    prepare(root);
    fill(join(mount, "ballast"));
    expect(statfsSync(mount).bavail * statfsSync(mount).bsize).toBeLessThan(4 * MIB);
    test(root);
  });
}

const failures = (root: string, ...options: string[]) =>
  relink(...options, root).events.filter(({ type }) => type === "failure");

const inodesOf = (root: string, names: readonly string[]): Set<number> =>
  new Set(names.map((name) => statSync(join(root, name)).ino));

const days = [0, 1, 2, 3];

describe.skipIf(!requireFilesystem("ext4"))("relink of a full disk", () => {
  it("drops an object that is damaged, says so, and heals with a file of the tree", async () => {
    await withFull(
      (root) => {
        writeFileSync(join(root, "daily.0/a"), Buffer.alloc(6 * MIB, "content"));
        relinkWell("--full", root);
        const object = objectOf(root, "daily.0/a");
        shell(root, "for day in 1 2 3 4; do cp -a daily.0 daily.$day; done; rm -r daily.0");
        flip(join(root, object), 1000);
        shell(root, "sync -f . && echo 3 > /proc/sys/vm/drop_caches");
      },
      (root) => {
        expect(failures(root)).toMatchObject([{ code: "EOBJECT" }]);
        expect(inodesOf(root, ["daily.1/a", "daily.2/a", "daily.3/a", "daily.4/a"]).size).toBe(1);
        expect(relinkWell(root).summary).toMatchObject({ linkedNames: 0 });
        expect(verify([root]).found).toEqual([]);
      },
    );
  });

  it("goes on where a killed run left the last name of a file", async () => {
    await withFull(
      (root) => {
        writeFileSync(join(root, "daily.0/a"), Buffer.alloc(6 * MIB, "content"));
        shell(root, "for day in 1 2 3; do cp -a daily.0 daily.$day; done; cp -a daily.0/a .dedupe-relink");
      },
      (root) => {
        relinkWell(root);
        expect(
          inodesOf(
            root,
            days.map((day) => `daily.${String(day)}/a`),
          ).size,
        ).toBe(1);
        expect(readdirSync(root).filter((name) => name.startsWith(".dedupe-relink"))).toEqual([]);
      },
    );
  });

  it("heals trees deeper than it keeps directories open, and gives each its own time back", async () => {
    const deep = Array.from({ length: 250 }, () => "d").join("/");
    const times = (root: string): string =>
      execFileSync("find", [".", "-path", "./.dedupe", "-prune", "-o", "-type", "d", "-printf", "%p %T@\n"], {
        cwd: root,
        encoding: "utf8",
      });
    let before = "";
    await withFull(
      (root) => {
        for (const day of days) {
          const folder = join(root, `daily.${String(day)}`, deep);
          mkdirSync(folder, { recursive: true });
          writeFileSync(join(folder, "a"), Buffer.alloc(8 * MIB, "content"));
          shell(root, `find daily.${String(day)} -depth -exec touch -d @170000${String(day)}000 {} +`);
        }
        shell(root, "find . -name a -exec touch -d @1600000000 {} + ; touch -d @1600000000 .");
        before = times(root);
      },
      (root) => {
        relinkWell(root);
        expect(
          inodesOf(
            root,
            days.map((day) => `daily.${String(day)}/${deep}/a`),
          ).size,
        ).toBe(1);
        expect(times(root)).toBe(before);
      },
    );
  });

  it("leaves what is an object under another number as it is", async () => {
    await withFull(
      (root) => {
        writeFileSync(join(root, "daily.0/a"), Buffer.alloc(6 * MIB, "content"));
        relinkWell("--full", root);
        const object = join(root, objectOf(root, "daily.0/a"));
        shell(root, "cp -a daily.0 daily.1; for day in 2 3; do cp -al daily.1 daily.$day; done");
        linkSync(join(root, "daily.1/a"), `${object}.1`);
        shell(root, "cp -a daily.0 daily.4; cp -a daily.0 daily.5");
      },
      (root) => {
        const foreseen = relinkWell("--dry-run", root).summary;
        const { linkedNames, freedBytes, mergedInodes } = relinkWell(root).summary;
        expect({ linkedNames, freedBytes, mergedInodes }).toEqual({
          linkedNames: foreseen.linkedNames,
          freedBytes: foreseen.freedBytes,
          mergedInodes: foreseen.mergedInodes,
        });
        expect(linkedNames).toBe(2);
        expect(inodesOf(root, ["daily.0/a", "daily.4/a", "daily.5/a"]).size).toBe(1);
        expect(inodesOf(root, ["daily.1/a", "daily.2/a", "daily.3/a"]).size).toBe(1);
      },
    );
  });

  it("counts a name against the link limit once", async () => {
    const many = 22_000;
    await withFull(
      (root) => {
        writeFileSync(join(root, "daily.0/a"), "content");
        shell(root, "touch -d @1600000000 daily.0/a");
        relinkWell("--full", root);
        shell(
          root,
          `mkdir daily.1; for n in $(seq ${String(many)}); do echo "daily.1/$n"; done |
           xargs -n 500 sh -c 'for name; do printf content > $name; done' sh;
           find daily.1 -type f -exec touch -d @1600000000 {} +; rm -r daily.0`,
        );
      },
      (root) => {
        const { summary } = relinkWell(root);
        expect(summary).toMatchObject({ linkedNames: many, mergedInodes: many, siblings: 0 });
      },
      ["-b", "1024", "-N", String(many + 500)],
    );
  });
});

describe.skipIf(!requireFilesystem("ext4"))("the index of a full disk", () => {
  const many = (root: string): void => {
    for (const day of [0, 1]) {
      mkdirSync(join(root, `daily.${day}`), { recursive: true });
      for (let made = 0; made < 100; made++)
        writeFileSync(join(root, `daily.${day}/${made}`), `${day} ${made}`);
    }
    relinkWell("--full", root);
    rmSync(join(root, "daily.1"), { recursive: true });
    compactWell(root, "--steps", "prune");
  };

  it("stays as it was where there is no room for a smaller one, and what helps is said", async () => {
    await withFull(many, (root) => {
      const index = join(root, ".dedupe/index/data.mdb");
      const before = readFileSync(index);
      const { code, err } = dedupe(["compact", "-q", "--steps", "index", root]);
      expect([code, err]).toEqual([1, expect.stringContaining("no space left on device (ENOSPC)")]);
      expect(err).toMatch(/compact --steps prune.*--index DIR/);
      expect(readFileSync(index).equals(before)).toBe(true);
      rmSync(join(root, "../ballast"));
      expect(compactWell(root, "--steps", "index").summary.index.droppedRows).toBeGreaterThan(0);
    });
  });

  it("is not given up for its lock, which was lost and finds no room", async () => {
    await withFull(many, (root) => {
      const index = join(root, ".dedupe/index/data.mdb");
      const before = readFileSync(index);
      rmSync(join(root, ".dedupe/index/lock.mdb"));
      fill(join(root, "../ballast"));
      const { code, err } = dedupe(["compact", "-q", "--steps", "prune", root]);
      expect([code, err]).toEqual([1, expect.stringContaining("no room for the index's lock.mdb")]);
      expect(readFileSync(index).equals(before)).toBe(true);
      rmSync(join(root, "../ballast"));
      expect(compactWell(root).summary).toMatchObject({ readBytes: 0, index: { unknown: 0 } });
    });
  });

  it("can be opened once it was written anew", async () => {
    const prepare = (root: string): void => {
      many(root);
      compactWell(root);
    };
    await withFull(prepare, (root) => {
      expect(compactWell(root).summary.index.rows).toBeGreaterThan(0);
    });
  });
});

describe.skipIf(!requireFilesystem("ext4"))("a full disk", () => {
  const prepare = (root: string): void => {
    for (const name of ["a", "b"]) writeFileSync(join(root, "daily.0", name), "content");
    shell(root, "touch -d @1600000000 daily.0/a daily.0/b");
  };

  it("is refused at once where it is mounted read-only", async () => {
    await withFull(prepare, (root) => {
      const mount = join(root, "..");
      execFileSync("mount", ["-o", "remount,ro", mount]);
      const { code, out, err } = dedupe(["relink", "--json", root]);
      expect(out).not.toContain("FULL");
      expect([code, err]).toEqual([
        1,
        expect.stringMatching(/is on a read-only file system\nMount it writable/),
      ]);
    });
  });

  it("has nothing to undo, which needs no room", async () => {
    const withStore = (root: string): void => {
      prepare(root);
      relinkWell(root);
    };
    await withFull(withStore, (root) => {
      expect(relinkWell("--undo", root).summary).toMatchObject({ outcome: "complete", loggedNames: 0 });
    });
  });
});
