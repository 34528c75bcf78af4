import type { Store } from "../../store/store.ts";

const SEAL_EVERY_MS = 10_000;

/**
 * Seals every ten seconds while the work lasts, so that what was read by then need not be read again.
 * @throws what the work throws, or SysError of a seal: the target failed
 */
export async function sealMeanwhile<T>(store: Store | undefined, work: () => Promise<T>): Promise<T> {
  let sealing: Promise<void> | undefined;
  const failed: unknown[] = [];
  const timer = setInterval(() => {
    if (store === undefined || sealing !== undefined) return;
    sealing = store
      .seal()
      .catch((error: unknown) => void failed.push(error))
      .finally(() => (sealing = undefined));
  }, SEAL_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await sealing;
    if (failed.length > 0) throw failed[0];
  }
}
