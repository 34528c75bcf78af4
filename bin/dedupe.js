#!/usr/bin/env node
import { existsSync } from "node:fs";

// `npm install -g .` merely links a clone: its first start makes it ready. A packed dedupe brings its build.
if (!existsSync(new URL("../dist/cli.js", import.meta.url))) await import("./prepare.js");

const { main } = await import("../dist/cli.js");
await main(process.argv.slice(2));
