/**
 * getfattr (Debian: attr). Node.js has no call for extended attributes.
 */
import type { Argv } from '../proc/run.ts';

/**
 * Every attribute of every file below `root` whose name matches `pattern` (a POSIX extended regular expression),
 * values in base64, symbolic links themselves rather than their targets. `root` is absolute and no link.
 */
export function getfattrArgv(root: string, pattern: string): Argv {
  return [
    'getfattr',
    '--recursive',
    '--physical',
    '--no-dereference',
    '--dump',
    `--match=${pattern}`,
    '--encoding=base64',
    '--absolute-names',
    '--',
    root,
  ];
}

/** Attribute name to value. */
export type Attributes = ReadonlyMap<string, Buffer>;

/**
 * Parses getfattr's dump: blocks of `# file: PATH`, one `NAME=0sBASE64` line per attribute, an empty line.
 * Backslash, CR and LF (and `=` in names) come as three-digit octal escapes. Files without attributes are not
 * in the dump.
 *
 * @throws SyntaxError when the text is anything else.
 */
export function parseGetfattr(text: string): Map<string, Attributes> {
  const files = new Map<string, Attributes>();
  let current: Map<string, Buffer> | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '') {
      current = undefined;
    } else if (line.startsWith('# file: ')) {
      current = new Map();
      files.set(unescapeOctal(line.slice('# file: '.length)), current);
    } else {
      const [, name, value] = /^([^=]+)(?:=0s([A-Za-z0-9+/]*={0,2}))?$/.exec(line) ?? [];
      if (current === undefined || name === undefined) {
        throw new SyntaxError(`getfattr printed an unexpected line ${index + 1}: ${JSON.stringify(line)}`);
      }
      current.set(unescapeOctal(name), Buffer.from(value ?? '', 'base64'));
    }
  }
  return files;
}

/** Escaped characters are single bytes below 128, so they can be put back into decoded text. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_match, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
