/**
 * Debian package versions and their order (Debian Policy §5.6.12): `[epoch:]upstream[-revision]`, compared in
 * alternating stretches of non-digits and digits, where `~` sorts before everything, even the end.
 */

declare const debVersionBrand: unique symbol;
/** A well-formed Debian version; branded so that it is never compared as plain text. */
export type DebVersion = string & { readonly [debVersionBrand]: true };

const PATTERN = /^(?:\d[A-Za-z0-9.+~-]*|\d+:\d[A-Za-z0-9.+~:-]*)$/;

export function isDebVersion(text: string): text is DebVersion {
  return PATTERN.test(text) && !text.endsWith('-');
}

/** @throws TypeError when the text is not a Debian version. */
export function parseDebVersion(text: string): DebVersion {
  if (!isDebVersion(text)) throw new TypeError(`not a Debian version: ${JSON.stringify(text)}`);
  return text;
}

/** Negative, zero or positive, as for `Array.sort`. A total order, though `1` and `1-0` compare equal. */
export function compareDebVersions(left: DebVersion, right: DebVersion): number {
  const [leftEpoch, leftUpstream, leftRevision] = split(left);
  const [rightEpoch, rightUpstream, rightRevision] = split(right);
  return (
    compareDigits(leftEpoch, rightEpoch) ||
    compareFragments(leftUpstream, rightUpstream) ||
    compareFragments(leftRevision, rightRevision)
  );
}

/**
 * True when `version` is `prefix` or goes on from it at a boundary: `6.12` admits `6.12.57-1` and not `6.120`.
 * An epoch may be left out of the prefix.
 */
export function hasVersionPrefix(version: DebVersion, prefix: string): boolean {
  const withoutEpoch = version.replace(/^\d+:/, '');
  return [version, withoutEpoch].some(
    (text) => text === prefix || (text.startsWith(prefix) && /^[^0-9A-Za-z]/.test(text.slice(prefix.length))),
  );
}

function split(version: string): [epoch: string, upstream: string, revision: string] {
  const colon = version.indexOf(':');
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return [
    colon === -1 ? '' : version.slice(0, colon),
    dash === -1 ? rest : rest.slice(0, dash),
    dash === -1 ? '' : rest.slice(dash + 1),
  ];
}

/** Compares numbers of any length given as digits; leading zeros do not count. */
function compareDigits(left: string, right: string): number {
  const a = left.replace(/^0+/, '');
  const b = right.replace(/^0+/, '');
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `~` before the end, the end before letters, letters before everything else. */
function weight(character: string | undefined): number {
  if (character === '~') return -1;
  if (character === undefined || isDigit(character)) return 0;
  const code = character.charCodeAt(0);
  return /[A-Za-z]/.test(character) ? code : code + 256;
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= '0' && character <= '9';
}

function compareFragments(left: string, right: string): number {
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    while ((i < left.length && !isDigit(left[i])) || (j < right.length && !isDigit(right[j]))) {
      const difference = weight(left[i]) - weight(right[j]);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const leftStart = i;
    const rightStart = j;
    while (isDigit(left[i])) i += 1;
    while (isDigit(right[j])) j += 1;
    const difference = compareDigits(left.slice(leftStart, i), right.slice(rightStart, j));
    if (difference !== 0) return difference;
  }
  return 0;
}
