// dedupe behind the faulty door: `node dist/faults/run.js migrate …` with a plan in DEDUPE_FAULTS.
import { main } from "../../../src/cli.ts";

await main(process.argv.slice(2), { sysModule: new URL("./faulty-sys.js", import.meta.url) });
