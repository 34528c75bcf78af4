import { describe, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { expectHonest, type HonestTarget } from "../support/verify-honest.ts";

const targets: readonly HonestTarget[] = [
  { type: "ext4", entries: 20_000 },
  { type: "ext3-128", entries: 2000 },
  {
    type: "xfs",
    entries: 2000,
    impossible: ["specials/b-4095-1048575", "specials/c-4095-1048575", "symlinks/4095"],
  },
  { type: "btrfs", entries: 2000 },
];

describe.skipIf(!requireFilesystem("ext4"))("a hostile tree", () => {
  for (const target of targets) {
    it.skipIf(!requireFilesystem(target.type))(`and its copy on ${target.type} are found equal`, async () => {
      await expectHonest(target);
    });
  }
});
