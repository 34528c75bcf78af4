import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { dedupe } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { relinkWell } from "../support/relink.ts";
import { file, makeTree } from "../support/tree.ts";

const old = 1_600_000_000_000_000_000n;

it.skipIf(!requireFilesystem("ext4"))(
  "relink says what it would gain if times, modes, owners or xattrs were ignored, and reads nothing for it",
  { timeout: 480_000 },
  async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 1024 * 2 ** 20 }, (mount) => {
      const root = join(mount, "root");
      mkdirSync(root);
      const same = "same\n";
      makeTree(root, {
        "daily.0/a": file(same, { mtimeNs: old }),
        "daily.1/a": file(same, { mtimeNs: old }),
        "daily.0/later": file(same, { mtimeNs: old + 1n }),
        "daily.1/later": file(same, { mtimeNs: old + 1n }),
        "daily.0/green": file(same, { mtimeNs: old, xattrs: { "user.colour": "green" } }),
        "daily.1/private": file(same, { mtimeNs: old + 2n, mode: 0o600 }),
        // Nobody has the size and attributes of these: they are not read.
        "daily.0/alone": file("x".repeat(5000), { mtimeNs: old }),
        "daily.1/alone": file("x".repeat(5000), { mtimeNs: old + 3n }),
      });
      const foreseen = relinkWell("--dry-run", root).summary;
      expect(foreseen.gains).toEqual({
        time: { inodes: 1, bytes: 4096, unreadInodes: 1, unreadBytes: 8192 },
        xattrs: { inodes: 1, bytes: 4096, unreadInodes: 0, unreadBytes: 0 },
        all: { inodes: 2, bytes: 8192, unreadInodes: 2, unreadBytes: 12_288 },
      });
      expect(foreseen).toMatchObject({ aloneInodes: 3, readInodes: 5, mergedInodes: 2 });
      const ignoring = relinkWell("--dry-run", "--ignore-time", root).summary;
      expect(ignoring.mergedInodes).toBe(foreseen.mergedInodes + 2);
      expect(Object.keys(ignoring.gains)).not.toContain("time");
      expect(dedupe(["relink", "-n", root]).out).toMatch(
        /--ignore-time +1 inode more, 4\.1 kB; at most 8\.19 kB in 1 inode not read/,
      );
      expect(relinkWell(root).summary.gains).toEqual(foreseen.gains);
      // The store's name of an inode goes with it.
      expect(relinkWell("--dry-run", "--full", root).summary.gains.all).toMatchObject({
        inodes: 4,
        bytes: 20_480,
      });

      const unread = join(mount, "unread");
      makeTree(unread, {
        "daily.0/alone": file("same", { mtimeNs: old }),
        "daily.1/alone": file("same", { mtimeNs: old + 3n }),
      });
      const { readInodes, gains } = relinkWell("--dry-run", unread).summary;
      expect(readInodes).toBe(0);
      expect(gains.time).toEqual({ inodes: 0, bytes: 0, unreadInodes: 1, unreadBytes: 4096 });
      relinkWell("--full", unread);
      expect(relinkWell("--dry-run", unread).summary.gains).toEqual(gains);
    });
  },
);
