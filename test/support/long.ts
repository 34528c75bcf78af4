/** `npm run check:long`: every moment, kind and filesystem; `npm run check` takes a sample. */
export const isLong = process.env["DEDUPE_TESTS_LONG"] === "1";
