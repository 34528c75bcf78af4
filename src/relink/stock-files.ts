import type { Kernel } from "../sys/files.ts";
import type { StockFiles } from "./messages.ts";
import { openScratch } from "./record-file.ts";

export function openStockFiles(kernel: Kernel, stockFd: number, jobs: number): StockFiles {
  const each = (): number[] => Array.from({ length: jobs }, () => openScratch(kernel, stockFd));
  return {
    directoriesFd: openScratch(kernel, stockFd),
    heapFds: each(),
    sortFds: each(),
    candidatesFd: openScratch(kernel, stockFd),
  };
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
  const open = (): number => openScratch(kernel, stockFd);
  return {
    placesFd: open(),
    inodesFd: open(),
    chosenFd: open(),
    membersFd: open(),
    classesFd: open(),
  };
}
