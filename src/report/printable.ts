/** Names that somebody else chose, on a terminal: nothing in them moves the cursor, paints, or turns the line around. */

/** Control and format characters (Cc, Cf, line and paragraph separators) as `\u{…}`. */
export function printableName(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
