import { expect, it } from "vitest";
import { migrate } from "../support/faulty-run.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

it.each([
  ["INT", 130],
  ["TERM", 143],
])("a SIG%s while migrate opens the target stops it before anything is copied", async (signal, code) => {
  makeTree(source, { "daily.0/a": file("a") });
  const action = { type: "run", when: "before", command: `kill -${signal} $PPID` } as const;
  const plan = { rules: [{ calls: ["linkat"], path: "link-probe", action }] };
  const stopped = await migrate(source, target, { plan });
  expect(stopped).toMatchObject({ code, failures: [], summary: { outcome: "stopped", writtenBytes: 0 } });
  expect((await migrate(source, target)).summary).toMatchObject({ outcome: "complete", writtenBytes: 1 });
});
