/** Collects the lines of a verbose run, which come by the million, into writes of some 64 KiB. */
export type LineBuffer = { add(line: string): void; flush(): void };

const flushAtCharacters = 65_536;

export function createLineBuffer(write: (text: string) => void): LineBuffer {
  let pending = "";
  const flush = (): void => {
    if (pending === "") return;
    const text = pending;
    pending = "";
    write(text);
  };
  return {
    add(line) {
      pending += `${line}\n`;
      if (pending.length >= flushAtCharacters) flush();
    },
    flush,
  };
}
