import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Where images live: in memory, so that no disk is measured. */
export const imageFolder = "/dev/shm/dedupe-bench";

export interface Mounted {
  readonly path: string;
  /** Unmounts; a scratch filesystem is deleted too. */
  close(): void;
}

/* What is still mounted, for a bench that ends early. */
const open = new Set<Mounted>();

process.on("exit", () => {
  for (const each of open) each.close();
});

export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** mkfs.ext4 with its defaults but for `options`, on a sparse file. */
export function makeImage(image: string, sizeGiB: number, options: readonly string[] = []): void {
  writeFileSync(image, "");
  truncateSync(image, sizeGiB * 2 ** 30);
  run("mkfs.ext4", "-q", "-F", ...options, image);
}

export function mountImage(image: string, options: string): Mounted {
  return mountAt(image, mkdtempSync(join(imageFolder, "mnt-")), options);
}

/** A fresh, empty ext4 that vanishes on close. `folder` lies in memory by default. */
export function mountScratch(sizeGiB: number, folder = imageFolder): Mounted {
  mkdirSync(folder, { recursive: true });
  const base = mkdtempSync(join(folder, "scratch-"));
  const image = join(base, "image");
  makeImage(image, sizeGiB);
  mkdirSync(join(base, "mnt"));
  return mountAt(image, join(base, "mnt"), "rw", base);
}

/* noinit_itable: else the kernel initialises inode tables in the background of whatever is being measured. */
function mountAt(image: string, path: string, options: string, alsoDelete = path): Mounted {
  run("mount", "-t", "ext4", "-o", `loop,noinit_itable,${options}`, image, path);
  const mounted: Mounted = {
    path,
    close: () => {
      if (!open.delete(mounted)) return;
      run("umount", path);
      rmSync(alsoDelete, { recursive: true, force: true });
    },
  };
  open.add(mounted);
  return mounted;
}
