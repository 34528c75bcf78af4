/** Bytes, sizes, times -> text that is safe and plain on a terminal. The only place where a name becomes text. */
import { isUtf8 } from "node:buffer";
import prettyBytes from "pretty-bytes";

/** Controls (C0, C1, DEL), invisible format characters (bidi overrides, zero widths) and line separators. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const unprintableAll = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const shortEscapes: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * A name as `ls --escape` shows it, reversible by $'…' in a shell: \n, \x1b, \xff for bytes that are no UTF-8,
 * and \\ for a backslash, without which a name holding "\n" as two characters would look the same.
 */
export function formatPath(path: Uint8Array): string {
  const valid = isUtf8(path);
  if (!valid) return formatInvalid(path);
  const text = Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("utf8");
  return text.includes("\\") || unprintable.test(text) ? escapeText(text.replaceAll("\\", "\\\\")) : text;
}

/** A sentence of ours that may hold foreign text: controls are escaped, backslashes left alone. */
export function formatText(text: string): string {
  return unprintable.test(text) ? escapeText(text) : text;
}

function escapeText(text: string): string {
  return text.replace(unprintableAll, (char) => shortEscapes[char] ?? escapeBytes(Buffer.from(char)));
}

function escapeBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

function formatInvalid(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const char = bytes.subarray(at, at + sequenceLength(bytes[at] ?? 0));
    const valid = isUtf8(char);
    text += valid ? formatPath(char) : escapeBytes(bytes.subarray(at, at + 1));
    at += valid ? char.length : 1;
  }
  return text;
}

function sequenceLength(leadByte: number): number {
  if (leadByte < 0xc0) return 1;
  if (leadByte < 0xe0) return 2;
  return leadByte < 0xf0 ? 3 : 4;
}

/** Decimal units, the ones printed on drives: 1 kB is 1000 bytes. */
export function formatBytes(sizeBytes: number): string {
  return prettyBytes(sizeBytes);
}

/** "1,234,567". Not by Intl, whose first use takes as long as a thread's start. */
export function formatCount(count: number): string {
  return count.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 snapshot", "30 snapshots"; irregular plurals are given. */
export function formatQuantity(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** Two units at most: "0.4 s", "12 s", "3 min 12 s", "2 h 5 min", "3 d 4 h". */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs);
  if (ms < 9950) return `${(ms / secondMs).toFixed(1)} s`;
  const whole = Math.round(ms / secondMs) * secondMs;
  if (whole < minuteMs) return `${whole / secondMs} s`;
  if (whole < hourMs) return pair(whole, [minuteMs, "min"], [secondMs, "s"]);
  if (whole < dayMs) return pair(whole, [hourMs, "h"], [minuteMs, "min"]);
  return pair(whole, [dayMs, "d"], [hourMs, "h"]);
}

type Unit = [ms: number, name: string];

function pair(ms: number, large: Unit, small: Unit): string {
  const rest = Math.floor((ms % large[0]) / small[0]);
  const head = `${Math.floor(ms / large[0])} ${large[1]}`;
  return rest === 0 ? head : `${head} ${rest} ${small[1]}`;
}

/** A path as one word of a shell command, to be copied from the report. */
export function quoteForShell(path: string): string {
  // A leading dash would be read as an option, and a colon before the first slash as a host by rsync.
  const safe = /^-|^[^/]*:/.test(path) ? `./${path}` : path;
  if (/^[\w@%+=:,./-]+$/.test(safe)) return safe;
  if (!unprintable.test(safe)) return `'${safe.replaceAll("'", String.raw`'\''`)}'`;
  return `$'${escapeText(safe.replaceAll("\\", "\\\\").replaceAll("'", "\\'"))}'`;
}

/** Cuts to a number of terminal columns; characters of East Asian scripts and emoji count as two. */
export function clip(text: string, columns: number): string {
  let width = 0;
  let kept = "";
  for (const char of text) {
    width += columnsOf(char);
    if (width > columns) return kept;
    kept += char;
  }
  return kept;
}

export function columnsOf(text: string): number {
  let width = 0;
  for (const char of text) width += (char.codePointAt(0) ?? 0) >= 0x1100 ? 2 : 1;
  return width;
}
