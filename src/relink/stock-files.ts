import type { Kernel } from "../sys/files.ts";
import type { StockFiles } from "./messages.ts";
import { openScratch } from "./record-file.ts";

export function openStockFiles(kernel: Kernel, stockFd: number, jobs: number): StockFiles {
  const each = (name: string): number[] =>
    Array.from({ length: jobs }, (_, worker) => openScratch(kernel, stockFd, `${name}.${String(worker)}`));
  return {
    directoriesFd: openScratch(kernel, stockFd, "directories"),
    heapFds: each("heap"),
    sortFds: each("sort"),
    candidatesFd: openScratch(kernel, stockFd, "candidates"),
  };
}

export function closeStockFiles({ sys }: Kernel, files: StockFiles): void {
  const fds = [files.directoriesFd, files.candidatesFd, ...files.heapFds, ...files.sortFds];
  for (const fd of fds) sys.close(fd);
}

/** Scratch files of the main thread. */
export type Sources = {
  placesFd: number;
  inodesFd: number;
  chosenFd: number;
  membersFd: number;
  classesFd: number;
};

export function openSources(kernel: Kernel, stockFd: number): Sources {
  const open = (name: string): number => openScratch(kernel, stockFd, name);
  return {
    placesFd: open("places"),
    inodesFd: open("inodes"),
    chosenFd: open("chosen"),
    membersFd: open("members"),
    classesFd: open("classes"),
  };
}
