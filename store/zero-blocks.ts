/** Holes are kept and made in units of the page: no aligned hole of this size becomes data. */
export const BLOCK_BYTES = 4096;

const zeros = Buffer.alloc(BLOCK_BYTES);

/** A stretch of a buffer that has to be written: [start, end). */
export type Run = { start: number; end: number };

/**
 * What of `bytes`, which lie at `offset` in a file of `sizeBytes`, is not an aligned block of zeros. Such blocks become
 * holes, whether or not the source had one there: files of equal content share an inode, and none of them may lose a
 * hole (P3). The last block of a file is whole though it be short.
 */
export function runsOfData(bytes: Uint8Array, offset: number, sizeBytes: number): Run[] {
  const runs: Run[] = [];
  let last: Run | undefined;
  for (let start = 0; start < bytes.length;) {
    const end = Math.min(bytes.length, start + BLOCK_BYTES - ((offset + start) % BLOCK_BYTES));
    const isWhole =
      (offset + start) % BLOCK_BYTES === 0 && (end - start === BLOCK_BYTES || offset + end === sizeBytes);
    if (isWhole && isZero(bytes, start, end)) last = undefined;
    else if (last !== undefined) last.end = end;
    else runs.push((last = { start, end }));
    start = end;
  }
  return runs;
}

/** A few bytes tell of almost all blocks that they are not. */
function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== 0 || bytes[end - 1] !== 0 || bytes[(start + end) >> 1] !== 0) return false;
  return zeros.compare(bytes, start, end, 0, end - start) === 0;
}
