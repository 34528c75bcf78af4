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

/** How many threads do the work. */
export type JobsOptions = {
  jobs: number;
  /** Asked for by number: so many, however little there is to do. */
  areJobsGiven: boolean;
};

/** Of every command. */
export type CommonOptions = OutputOptions & JobsOptions;

export type MigrateOptions = CommonOptions & {
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
  /** Bytes a second, or undefined for no limit. */
  bwlimitBytes: number | undefined;
  /** An attribute that could not be kept makes the run partial. */
  strict: boolean;
};

/** Of a command that can work under rsnapshot's lock. */
export type RsnapshotOptions = {
  /** undefined: the snapshot_root of `rsnapshotConf`, which is given then. */
  target: string | undefined;
  /** rsnapshot's configuration, whose lock is held meanwhile. */
  rsnapshotConf: string | undefined;
};

/** Options of a command whose target is known. */
export type WithTarget<Options extends RsnapshotOptions> = Options & { target: string };

export type VerifyOptions = CommonOptions &
  RsnapshotOptions & {
    command: "verify";
    /** The source to compare with. */
    against: string | undefined;
    /** Put right what another copy allows; `against` then says where contents may come from. */
    repair: boolean;
    /** Names and attributes of objects, no contents. */
    quick: boolean;
    /** next: the part whose turn it is, by the store's own record. */
    slice: { number: number | "next"; of: number } | undefined;
    /** Where the certificate goes; undefined: into the store's log. */
    certificate: string | undefined;
    certificateCheck: string | undefined;
    filters: FilterArgument[];
    oneFileSystem: boolean;
    /** Bytes a second, or undefined for no limit. */
    bwlimitBytes: number | undefined;
  };

export type RelinkOptions = CommonOptions & {
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
  bwlimitBytes: number | undefined;
  /** Put back what `--ignore-*` discarded, and nothing else. */
  undo: boolean;
  /** Stop at the next safe point after so long. */
  timeLimitMs: number | undefined;
};

export type StatsOptions = CommonOptions & {
  command: "stats";
  target: string;
  /** Rows of comma-separated values in place of the report. */
  csv: boolean;
  snapshotsGlob: string | undefined;
  /** Names, ranges and patterns of snapshots, as typed. */
  ifDeleted: string[];
  indexDir: string | undefined;
};

export type CompactOptions = CommonOptions &
  RsnapshotOptions & {
    command: "compact";
    dryRun: boolean;
    steps: ("sweep" | "adopt" | "refile" | "prune" | "fold" | "index")[];
    /** Take the store away. */
    detach: boolean;
    /** Staged snapshots of a migration that will not go on are leftovers too. */
    forgetUnfinished: boolean;
    /** "idle": whatever else the machine does comes first. */
    priority: "idle" | "normal";
    indexDir: string | undefined;
    bwlimitBytes: number | undefined;
    timeLimitMs: number | undefined;
  };

export type CommandOptions = MigrateOptions | RelinkOptions | CompactOptions | VerifyOptions | StatsOptions;
