/** Single values: sizes and rates are those of rsync's --max-size and --bwlimit. */
import { usageError } from "../errors.ts";

const sizeShape = /^(\d+\.?\d*|\.\d+)(?:([bkmgtp])(b|ib)?)?([+-]1)?$/i;
const unitLetters = "bkmgtp";

/** One letter or "KiB" counts by 1024, "KB" by 1000; fractions are cut to whole bytes; "+1" and "-1" shift by one. */
export function parseSize(text: string, option: string, defaultUnit = "b"): number {
  const match = sizeShape.exec(text);
  const [, amount = "", unit = defaultUnit, system = "", shift = "0"] = match ?? [];
  const base = system.toLowerCase() === "b" ? 1000 : 1024;
  const sizeBytes =
    Math.floor(Number(amount) * base ** unitLetters.indexOf(unit.toLowerCase())) + Number(shift);
  if (match === null || sizeBytes < 0) {
    throw usageError(`${option} takes a size such as 4096, 100K, 1.5M or 2GB, not '${text}'`);
  }
  if (!Number.isSafeInteger(sizeBytes)) throw usageError(`${option} is too large: '${text}'`);
  return sizeBytes;
}

const kib = 1024;

/** Bytes a second; without a suffix KiB, rounded to whole KiB, 0 for no limit: all as rsync does. */
export function parseRate(text: string, option: string): number | undefined {
  const rateBytes = parseSize(text, option, "k");
  if (rateBytes === 0) return undefined;
  if (rateBytes < kib / 2)
    throw usageError(`${option} takes 0 (no limit) or at least 512 bytes a second, not '${text}'`);
  return Math.floor((rateBytes + kib / 2) / kib) * kib;
}

export function parseCount(text: string, option: string, range: { min: number; max?: number }): number {
  const count = Number(text);
  const max = range.max ?? Number.MAX_SAFE_INTEGER;
  if (!/^\d+$/.test(text) || count < range.min || count > max) {
    const upTo =
      range.max === undefined
        ? `a whole number from ${range.min}`
        : `a whole number from ${range.min} to ${max}`;
    throw usageError(`${option} takes ${upTo}, not '${text}'`);
  }
  return count;
}

const durationShape = /^(\d+\.?\d*|\.\d+)(s|m|min|h|d)?$/i;
const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Without a suffix minutes, as rsync's --stop-after. */
export function parseDuration(text: string, option: string): number {
  const [, amount = "", unit = "m"] = durationShape.exec(text) ?? [];
  const durationMs = Math.round(Number(amount) * (unitMs[unit.toLowerCase()] ?? 0));
  if (amount === "" || durationMs <= 0)
    throw usageError(`${option} takes a time such as 90s, 30m or 2h, not '${text}'`);
  return durationMs;
}

export function given(value: string, option: string): string {
  if (value === "") throw usageError(`${option} is empty`);
  return value;
}
