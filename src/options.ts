/** What was typed -> what it means. One validated type per command; raw flags die here. */

/** Attributes that two inodes must share to become one (P5). */
export type Compared = { time: boolean; mode: boolean; owner: boolean; xattrs: boolean };

/** A rule source in command-line order, still unparsed: src/tree/filter.ts parses rsync's language. */
export type FilterArgument =
  | { type: "exclude" | "include" | "filter"; pattern: Buffer }
  | { type: "exclude-from" | "include-from"; file: string };

export type OutputOptions = {
  json: boolean;
  /** "auto": on a terminal only. */
  progress: "auto" | "on" | "off";
  quiet: boolean;
  verbose: boolean;
  logFile: string | undefined;
};

export type MigrateOptions = OutputOptions & {
  command: "migrate";
  source: string;
  target: string;
  dryRun: boolean;
  filters: FilterArgument[];
  compared: Compared;
  merge: "all" | "none";
  minSizeBytes: number;
  maxSizeBytes: number;
  snapshotsGlob: string | undefined;
  delete: boolean;
  forceDelete: boolean;
  maxDelete: number | undefined;
  checksum: boolean;
  removeSourceFiles: boolean;
  oneFileSystem: boolean;
  xattrs: boolean;
  indexDir: string | undefined;
  jobs: number;
  /** Bytes a second, or undefined for no limit. */
  bwlimitBytes: number | undefined;
  /** An attribute that could not be kept makes the run partial. */
  strict: boolean;
};

export type VerifyOptions = OutputOptions & {
  command: "verify";
  target: string;
  /** The source to compare with. */
  against: string | undefined;
  /** Put right what another copy allows; `against` then says where contents may come from. */
  repair: boolean;
  /** Names and attributes of objects, no contents. */
  quick: boolean;
  slice: { number: number; of: number } | undefined;
  /** Where the certificate goes; undefined: into the store's log. */
  certificate: string | undefined;
  certificateCheck: string | undefined;
  filters: FilterArgument[];
  oneFileSystem: boolean;
  jobs: number;
  /** Bytes a second, or undefined for no limit. */
  bwlimitBytes: number | undefined;
};

export type RelinkOptions = OutputOptions & {
  command: "relink";
  root: string;
  dryRun: boolean;
  filters: FilterArgument[];
  compared: Compared;
  merge: "all" | "none";
  minSizeBytes: number;
  maxSizeBytes: number;
  snapshotsGlob: string | undefined;
  oneFileSystem: boolean;
  /** Read every inode, also those that cannot have an equal. */
  full: boolean;
  indexDir: string | undefined;
  jobs: number;
  bwlimitBytes: number | undefined;
  /** Stop at the next safe point after so long. */
  timeLimitMs: number | undefined;
};

export type CommandOptions = MigrateOptions | RelinkOptions | VerifyOptions;
