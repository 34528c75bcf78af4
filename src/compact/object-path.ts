import type { Ref } from "../../store/store.ts";

/** Where an object or holder lies, from the target's root. */
export function objectPath(ref: Ref): Buffer {
  return Buffer.from(`.dedupe/${ref.kind === "object" ? "objects" : "groups"}/${ref.text}`);
}
