// `npm run bench -- SCENARIO... [--runs 5] [--quick] [--peers dedupe,rsync,cp,floor,hardlink,jdupes,rdfind]`: docs/testing.md
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureCompact } from "./compact.ts";
import { imageFolder } from "./image.ts";
import { measureMemory, type MemoryResult } from "./memory.ts";
import { fewSizes, inflatedRoot, measureHealing } from "./relink.ts";
import { scenario } from "./scenarios.ts";
import { measureSpeed, type SpeedResult } from "./speed.ts";
import { memoryTable, speedTable } from "./table.ts";
import { measureVerify } from "./verify.ts";
import { compileTools, workFolder, type Tools } from "./tools.ts";

interface Settings {
  readonly runs: number;
  readonly size: "full" | "quick";
  readonly peers: readonly string[];
  readonly tools: Tools;
}

const speedNames = ["a", "b", "c", "d"] as const;

await main();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "5" },
      quick: { type: "boolean", default: false },
      peers: { type: "string", default: "dedupe,rsync,cp,floor,hardlink,jdupes,rdfind" },
    },
  });
  const wanted = positionals.length === 0 ? ["all"] : positionals;
  if (process.getuid?.() !== 0) throw new Error("the bench makes and mounts filesystems: run it as root");
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
  const size = values.quick ? "quick" : "full";
  const settings = {
    runs: Number(values.runs),
    size,
    peers: values.peers.split(","),
    tools: compileTools(),
  } as const;
  for (const name of wanted.flatMap((each) => (each === "all" ? speedNames : [each])))
    await one(name, settings);
}

async function one(name: string, settings: Settings): Promise<void> {
  const { size, tools } = settings;
  switch (name) {
    case "a":
    case "b":
    case "c":
    case "d":
      return reportSpeed(measureSpeed(scenario(name, size), tools, settings));
    case "relink":
      return reportSpeed(measureHealing(inflatedRoot(size), tools, settings));
    case "few-sizes":
      for (const files of [250_000, 500_000])
        reportSpeed(measureHealing(fewSizes(size, files), tools, settings));
      return;
    case "verify":
      return reportSpeed(measureVerify(scenario("b", size), tools, settings.runs));
    case "compact":
      return reportSpeed(measureCompact(scenario("a", size), tools, settings));
    case "compact-long":
      return reportSpeed(measureCompact(scenario("memory-10m", size), tools, settings));
    case "memory":
      return reportMemory(name, [await measureMemory(scenario("a", size), tools)]);
    case "memory-long": {
      const few = await measureMemory(scenario("memory-1m", size), tools);
      const many = await measureMemory(scenario("memory-10m", size), tools);
      return reportMemory(name, [few, many, await measureMemory(scenario("memory-10m", size), tools, 512)]);
    }
    case "clean":
      return rmSync(imageFolder, { recursive: true, force: true });
    default:
      throw new Error(
        `no scenario is called ${name}: ${speedNames.join(", ")}, all, relink, few-sizes, verify, compact, compact-long, memory, memory-long, clean`,
      );
  }
}

function reportSpeed(result: SpeedResult): void {
  process.stdout.write(`\n${speedTable(result)}\n`);
  save(result.scenario, result);
}

function reportMemory(name: string, results: MemoryResult[]): void {
  process.stdout.write(`\n${memoryTable(results)}\n`);
  save(name, results);
}

/** Figures without the machine they were taken on mean nothing. */
function save(name: string, result: unknown): void {
  const date = new Date().toISOString();
  const machine = { cores: availableParallelism(), node: process.version, kernel: release() };
  const folder = join(workFolder, "results");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${date.replaceAll(":", "-")}-${name}.json`);
  writeFileSync(path, `${JSON.stringify({ date, machine, result }, null, 2)}\n`);
  process.stdout.write(`  ${path}\n`);
}
