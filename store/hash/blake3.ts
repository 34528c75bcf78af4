import { createRequire } from "node:module";
import type * as Native from "@napi-rs/blake-hash";
import type * as Wasm from "blake3-wasm";

/** Streaming BLAKE3-256. `finish` may be called once. */
export type Hasher = { update(bytes: Uint8Array): void; finish(): Buffer };

const require = createRequire(import.meta.url);

/** Compiling WebAssembly costs every thread 20 ms: only where it is needed. */
let loadedWasm: typeof Wasm | undefined;
function wasm(): typeof Wasm {
  return (loadedWasm ??= require("blake3-wasm") as typeof Wasm);
}

/** The native module ships prebuilt for glibc and musl; where it does not load, WebAssembly gives the same digests. */
function loadNative(): typeof Native | undefined {
  try {
    return require("@napi-rs/blake-hash") as typeof Native;
  } catch {
    return undefined;
  }
}

const native = loadNative();

/**
 * The 32 bytes of BLAKE3-256 of `bytes`. As text, because a Buffer that the native module makes owns memory outside
 * the heap, which costs more than a small file's hash.
 */
export const blake3: (bytes: Uint8Array) => Buffer =
  native === undefined
    ? (bytes) => Buffer.from(wasm().hash(bytes))
    : (bytes) => Buffer.from(native.blake3UrlSafeBase64(bytes as Buffer), "base64url");

export function openHasher(): Hasher {
  if (native !== undefined) {
    const hasher = new native.Blake3Hasher();
    return {
      update: (bytes) => {
        hasher.update(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      },
      finish: () => hasher.digestBuffer(),
    };
  }
  const hasher = wasm().createHash();
  return {
    update: (bytes) => {
      hasher.update(bytes);
    },
    finish: () => hasher.digest(),
  };
}

/** For tests: the same without the native module. */
export const wasmBlake3 = (bytes: Uint8Array): Buffer => Buffer.from(wasm().hash(bytes));
