/** The classes of `[[:alpha:]]`, as the C locale has them: bytes above 127 are in none. */

const alphabet = Array.from({ length: 128 }, (_, value) => String.fromCharCode(value));

const classes = new Map<string, RegExp>([
  ["alnum", /[0-9A-Za-z]/],
  ["alpha", /[A-Za-z]/],
  ["blank", /[ \t]/],
  ["cntrl", /[^ -~]/],
  ["digit", /[0-9]/],
  ["graph", /[!-~]/],
  ["lower", /[a-z]/],
  ["print", /[ -~]/],
  ["punct", /[!-/:-@[-`{-~]/],
  ["space", /[ \t-\r]/],
  ["upper", /[A-Z]/],
  ["xdigit", /[0-9A-Fa-f]/],
]);

/** Undefined: there is no such class. */
export function namedByteClass(name: string): readonly number[] | undefined {
  const members = classes.get(name);
  return members && alphabet.flatMap((character, value) => (members.test(character) ? [value] : []));
}
