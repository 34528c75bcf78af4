/** In tmp/: a name on its way. */
export const LEFTOVER = "relink.";

const OF_BATCH = /^relink\.\d+\.([0-9a-f]{16})\.(\d+)(\.\d+)?(\.kept)?$/;

/** Of a batch: which thread, which log, and which name of that log; a number follows where it was taken. */
export function temporaryName(worker: number, log: string, position: number): Buffer {
  return Buffer.from(`${LEFTOVER}${String(worker)}.${log}.${String(position)}`);
}

/** Which name of which log it stands for. undefined: it does not say. */
export function standsFor(temporary: Buffer): { log: string; position: number } | undefined {
  const [, log, position] = OF_BATCH.exec(temporary.toString("latin1")) ?? [];
  return log === undefined ? undefined : { log, position: Number(position) };
}
