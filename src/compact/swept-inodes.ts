import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { numberAt, putNumber } from "../relink/layout.ts";
import { openScratch } from "../relink/record-file.ts";
import { RunSorter, mergeRuns } from "../relink/sorter.ts";
import { BLOCK_BYTES } from "./attention.ts";
import { listDirectory } from "./count-names.ts";
import type { SweepItem, SweepParts } from "./sweep.ts";

/** An inode that the sweep takes names from: how many, of how many links. */
export type SweptInode = {
  inoLow: number;
  inoHigh: number;
  names: number;
  links: number;
  bytes: number;
};

/** Records of names: 32-bit words. */
const [INO_HIGH, INO_LOW, LINKS, BLOCKS_HIGH, WORDS] = [0, 1, 2, 3, 5];
const layout = { words: WORDS, key: [INO_HIGH, INO_LOW] };

/** Of what is to be swept, each inode once, whatever the number of names. @throws SysError, RunFailure */
export function* sweptInodes(
  { kernel, directories }: SweepParts,
  { items, stockFd }: { items: readonly SweepItem[]; stockFd: number },
): Generator<SweptInode> {
  const fds = { tmp: directories.tmpFd, staging: directories.stagingFd, log: directories.logFd };
  const fd = openScratch(kernel, stockFd, "sort");
  try {
    const sorter = new RunSorter(kernel.sys, fd, layout);
    for (const { folder, name, verdict } of items)
      if (verdict === "drop") take(kernel, sorter, fds[folder], name);
    let held: SweptInode | undefined;
    for (const record of mergeRuns(kernel.sys, sorter.finish(), layout)) {
      if (held !== undefined && held.inoLow === record[INO_LOW] && held.inoHigh === record[INO_HIGH]) {
        held.names++;
        continue;
      }
      if (held !== undefined) yield held;
      held = {
        ...{ inoHigh: record[INO_HIGH] as number, inoLow: record[INO_LOW] as number },
        ...{ names: 1, links: record[LINKS] as number },
        bytes: numberAt(record, BLOCKS_HIGH) * BLOCK_BYTES,
      };
    }
    if (held !== undefined) yield held;
  } finally {
    kernel.sys.close(fd);
  }
}

/** The name, or all below it. */
function take(kernel: Kernel, sorter: RunSorter, dirFd: number, name: Buffer): void {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  check(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
  if (!stat.isDirectory) {
    const record = sorter.next();
    record[INO_HIGH] = stat.inoHigh;
    record[INO_LOW] = stat.inoLow;
    record[LINKS] = stat.nlink;
    putNumber(record, BLOCKS_HIGH, stat.blocks);
    return;
  }
  const fd = openDirectory(kernel, dirFd, name);
  try {
    for (const entry of listDirectory(kernel, fd, name.toString())) take(kernel, sorter, fd, entry.name);
  } finally {
    sys.close(fd);
  }
}
