/** Where text goes. A bar that is being drawn makes room before and comes back after. */
export type Stream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

export type Streams = { stdout: Stream; stderr: Stream };

export type Screen = {
  /** What the user asked for: the report, snapshots, JSON Lines. */
  out: (text: string) => void;
  /** Warnings, failures, errors. */
  err: (text: string) => void;
};

export type Bar = { above(print: () => void): void };

export function createScreen({ stdout, stderr }: Streams, bar: Bar | undefined): Screen {
  const printer = (stream: Stream) => (text: string) => {
    const print = (): void => {
      stream.write(text);
    };
    if (bar === undefined) print();
    else bar.above(print);
  };
  return { out: printer(stdout), err: printer(stderr) };
}

export async function drain({ stdout, stderr }: Streams): Promise<void> {
  await Promise.all([stdout, stderr].map((stream) => drained(stream)));
}

/** A stream whose reader left calls back with its error, which the composition root has heard of already. */
function drained(stream: Stream): Promise<void> {
  return new Promise((resolve) => {
    const written = (): void => {
      resolve();
    };
    if (stream.writable) stream.write("", written);
    else resolve();
  });
}
