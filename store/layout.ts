/** What lies in TARGET/.dedupe; docs/store-format.md explains each. */
export const STORE_NAME = ".dedupe";
export const FORMAT_VERSION = 1;
export const names = {
  format: "format.json",
  objects: "objects",
  groups: "groups",
  index: "index",
  staging: "staging",
  tmp: "tmp",
  log: "log",
  lock: "lock",
} as const;
/** Rows waiting for the next seal: two files, one written while the other is taken into the index. */
export const journalNames = ["log/rows.0", "log/rows.1"] as const;
