/** argv -> the options of a command, and the help. The only place that knows commander. */
import { Command, CommanderError, Option } from "commander";
import { DedupeError, usageError } from "../errors.ts";
import { exitCodes } from "../exit-codes.ts";
import type { CommandOptions } from "../options.ts";
import { compactOptionSpecs, compactOptions } from "../options/compact.ts";
import { longName, type TypedOption } from "../options/common.ts";
import { migrateOptionSpecs, migrateOptions } from "../options/migrate.ts";
import { verifyOptionSpecs, verifyOptions } from "../options/verify.ts";
import { relinkOptions, relinkOptionSpecs } from "../options/relink.ts";
import { statsOptions, statsOptionSpecs } from "../options/stats.ts";

export type CommandLine = {
  argv: readonly string[];
  version: string;
  /** Takes the text of --help and --version. */
  print: (text: string) => void;
  helpColumns: number | undefined;
};

/** Undefined when help or the version was asked for and printed. Throws a `DedupeError` with exit code `usage`. */
export function parseCommandLine({
  argv,
  version,
  print,
  helpColumns,
}: CommandLine): CommandOptions | undefined {
  checkEncoding(argv);
  let parsed: CommandOptions | undefined;
  const program = createProgram(version, (options) => (parsed = options));
  const parts = [program, ...program.commands];
  for (const part of parts) {
    part.exitOverride().configureOutput({
      writeOut: print,
      // Errors are thrown, and printed where all others are.
      writeErr: () => undefined,
      outputError: () => undefined,
      getOutHelpWidth: () => helpColumns ?? 80,
      getOutHasColors: () => false,
    });
  }
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw withHint(error, argv[0]);
    if (error.exitCode !== 0) throw withHint(asUsageError(error), argv[0]);
  }
  return parsed;
}

/** A command comes first: the program has no options of its own but those that end it. */
function withHint(error: unknown, command = ""): unknown {
  const isWithout = error instanceof DedupeError && error.code === "usage" && error.hint === undefined;
  return isWithout ? usageError(error.message, `Try 'dedupe ${command} --help'.`) : error;
}

function createProgram(version: string, accept: (options: CommandOptions) => void): Command {
  const program = new Command("dedupe")
    .description("Moves and heals roots of hard-linked snapshots (rsnapshot and the like).")
    .version(`dedupe ${version}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .addHelpText("after", `\n${exitCodeHelp()}\n\n${exampleHelp()}`);
  program.addCommand(createMigrate(accept));
  program.addCommand(createRelink(accept));
  program.addCommand(createCompact(accept));
  program.addCommand(createVerify(accept));
  program.addCommand(createStats(accept));
  return program;
}

function createMigrate(accept: (options: CommandOptions) => void): Command {
  const command = new Command("migrate")
    .summary("copy a root of snapshots, every hard link kept, equal files merged")
    .description(
      "Copies the contents of <source> into <target>: the same snapshots, every hard link kept, equal files merged. " +
        "A run that was stopped goes on where it was when the same command is given again.",
    )
    .argument("<source>", "the root to copy")
    .argument("<target>", "an existing directory on a filesystem with hard links")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("Running:"));
  const typed = collectTyped(command, migrateOptionSpecs);
  command.action((source: string, target: string) => {
    accept(migrateOptions(typed, source, target));
  });
  return command.addHelpText("after", `\n${exitCodeHelp()}\n\n${exampleHelp()}`);
}

function createRelink(accept: (options: CommandOptions) => void): Command {
  const command = new Command("relink")
    .summary("heal in place a tree whose hard links were lost")
    .description(
      "Makes one inode of identical files below <root>, in place, without copying data and without a moment in which " +
        "a name is missing. <root> becomes a target with a store: dedupe migrate goes on there. A run that was " +
        "stopped goes on where it was when the same command is given again.",
    )
    .argument("<root>", "the tree to heal")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("Running:"));
  const typed = collectTyped(command, relinkOptionSpecs);
  command.action((root: string) => {
    accept(relinkOptions(typed, root));
  });
  return command.addHelpText("after", `\n${exitCodeHelp()}\n\n${relinkExamples}`);
}

function createCompact(accept: (options: CommandOptions) => void): Command {
  const command = new Command("compact")
    .summary("keep a store small and right, now and then")
    .description(
      "Cares for the store of <target>: sweeps what killed runs left, takes in and merges what other tools have " +
        "written since, gives objects that were changed in place their true names, lets go of what no snapshot names " +
        "any more, and keeps the index small. Safe beside a running snapshot tool. A run that was stopped goes on " +
        "where it was when the same command is given again.",
    )
    .argument("[target]", "a root that migrate or relink has made")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("Running:"));
  const typed = collectTyped(command, compactOptionSpecs);
  command.action((target?: string) => {
    accept(compactOptions(typed, target));
  });
  return command.addHelpText("after", `\n${exitCodeHelp()}\n\n${compactExamples}`);
}

/** Filled while the command line is parsed. */
function collectTyped(
  command: Command,
  specs: readonly { flags: string; help: string; group: string }[],
): TypedOption[] {
  const typed: TypedOption[] = [];
  for (const { flags, help, group } of specs) {
    command.addOption(new Option(flags, help).helpGroup(group));
    const name = longName(flags);
    // Commander's own values forget the order in which different options came.
    command.on(`option:${name}`, (value?: string | null) => typed.push({ name, value: value ?? "" }));
  }
  return typed;
}

function createVerify(accept: (options: CommandOptions) => void): Command {
  const command = new Command("verify")
    .summary("prove that a store is sound, or that a target equals its source")
    .description(
      "Reads the store of <target> again and checks every object against its name, and every name in the snapshots " +
        "against the store. With --against it compares <target> with the source instead: names, contents, " +
        "attributes, holes and hard links. Without --repair nothing is changed, " +
        "and a read-only mount will do.",
    )
    .argument("[target]", "a root that migrate or relink has made")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("Running:"));
  const typed = collectTyped(command, verifyOptionSpecs);
  command.action((target?: string) => {
    accept(verifyOptions(typed, target));
  });
  return command.addHelpText("after", `\n${exitCodeHelp()}\n\n${verifyExamples}`);
}

function createStats(accept: (options: CommandOptions) => void): Command {
  const command = new Command("stats")
    .summary("tell what each snapshot holds alone, and what deleting some would free")
    .description(
      "Counts the names and inodes below <target>: what each snapshot takes, what it alone holds, what hard links " +
        "and merging save, and what deleting snapshots would free. Nothing is changed, and a read-only mount will do.",
    )
    .argument("<target>", "a root of snapshots, with or without a store")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("Running:"));
  const typed = collectTyped(command, statsOptionSpecs);
  command.action((target: string) => {
    accept(statsOptions(typed, target));
  });
  return command.addHelpText("after", `\n${exitCodeHelp()}\n\n${statsExamples}`);
}

const statsExamples = [
  "Examples:",
  "  dedupe stats /mnt/backup",
  "  dedupe stats --if-deleted daily.20..daily.29 --csv /mnt/backup",
].join("\n");
const verifyExamples = [
  "Examples:",
  "  dedupe verify --against /mnt/old/rsnapshot /mnt/new/rsnapshot",
  "  dedupe verify --slice 1/30 /mnt/new/rsnapshot",
].join("\n");
const compactExamples = [
  "Examples:",
  "  dedupe compact --dry-run /mnt/new/rsnapshot",
  "  dedupe compact --time-limit 1h --log-file compact.log /mnt/new/rsnapshot",
].join("\n");
const relinkExamples = [
  "Examples:",
  "  dedupe relink --dry-run /mnt/backup",
  "  dedupe relink --time-limit 2h --log-file relink.log /mnt/backup",
].join("\n");

export function usedExitCodes(): { code: number; meaning: string }[] {
  return Object.values(exitCodes);
}

function exitCodeHelp(): string {
  const lines = usedExitCodes().map(({ code, meaning }) => `  ${String(code).padEnd(5)}${meaning}`);
  return ["Exit codes:", ...lines].join("\n");
}

function exampleHelp(): string {
  return [
    "Examples:",
    "  dedupe migrate --dry-run /mnt/old/rsnapshot /mnt/new/rsnapshot",
    "  dedupe migrate --exclude '*.tmp' --log-file run.log /mnt/old /mnt/new",
  ].join("\n");
}

/** "error: unknown option '--foo'\n(Did you mean --force?)" -> a sentence and a hint. */
function asUsageError(error: CommanderError): DedupeError {
  if (error.code === "commander.help") return usageError("no command given", "Try 'dedupe --help'.");
  const [sentence = "", suggestion] = error.message.replace(/^error: /, "").split("\n");
  const hint = suggestion?.replace(/^\((.*)\)$/, "$1");
  const isAboutCommands = error.code === "commander.unknownCommand";
  return usageError(sentence, hint ?? (isAboutCommands ? "Try 'dedupe --help'." : undefined));
}

/** Node decodes argv as UTF-8 before anyone sees it: other bytes are lost, and the wrong name would be looked for. */
function checkEncoding(argv: readonly string[]): void {
  const lost = argv.find((argument) => argument.includes("\uFFFD"));
  if (lost === undefined) return;
  throw usageError(
    `the argument '${lost}' is not valid UTF-8`,
    "Name such a root by its parent or a bind mount, and put such patterns into a file for --exclude-from.",
  );
}

export function checkPlatform(platform: string, architecture: string): void {
  if (platform === "linux" && (architecture === "x64" || architecture === "arm64")) return;
  throw usageError(
    `dedupe works on Linux (x64, arm64) only, and this is ${platform} (${architecture})`,
    "Run it where both drives are mounted.",
  );
}
