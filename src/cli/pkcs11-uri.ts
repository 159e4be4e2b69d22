/**
 * PKCS#11 URIs (RFC 7512) that name a private key. They stand in argument vectors, so a PIN has no place in them: where
 * it is to be read from comes apart from what is handed on.
 */
import { IngotError } from '../errors.ts';

export interface TokenKeyUri {
  /** Of one private key, in one spelling, with neither PIN nor query. */
  readonly key: string;
  /** Absolute path of the file that holds the PIN. */
  readonly pinSource?: string;
  /** Absolute path of the module to talk through, instead of those that p11-kit knows. */
  readonly modulePath?: string;
}

const TOKEN = ['token', 'manufacturer', 'serial', 'model'];
const OBJECT = ['object', 'id', 'type'];
const QUERY = ['pin-source', 'module-path'];

export function isPkcs11Uri(text: string): boolean {
  return /^pkcs11:/i.test(text);
}

/** @throws IngotError USAGE with everything that is wrong with it, never with a PIN */
export function parseTokenKeyUri(text: string): TokenKeyUri {
  const [path = '', ...queries] = text.replace(/^pkcs11:/i, '').split('?');
  const problems: string[] = [];
  const inPath = attributesOf(path, ';', [...TOKEN, ...OBJECT], problems);
  const inQuery = attributesOf(queries.join('?'), '&', QUERY, problems);
  // Of two keys by one name a token may offer either, and a PIN that is tried on every token locks them.
  if (!inPath.has('token') && !inPath.has('serial')) problems.push('it names no token (token= or serial=)');
  if (!inPath.has('object') && !inPath.has('id')) problems.push('it names no key (object= or id=)');
  const type = inPath.get('type')?.toString() ?? 'private';
  if (type !== 'private') problems.push('its type is not private');
  const pinSource = fileOf('pin-source', inQuery, problems);
  const modulePath = fileOf('module-path', inQuery, problems);
  if (problems.length > 0) {
    throw new IngotError('USAGE', `the URI of --module-key cannot be used: ${problems.join('; ')}`, {
      hint: `such as: --module-key 'pkcs11:token=Build%20keys;object=mok' --module-key-passphrase 3 3<PIN-FILE`,
    });
  }
  const written = [...TOKEN, 'object', 'id'].flatMap((name) => {
    const value = inPath.get(name);
    return value === undefined ? [] : [`${name}=${escapeBytes(value)}`];
  });
  return {
    key: `pkcs11:${[...written, 'type=private'].join(';')}`,
    ...(pinSource !== undefined && { pinSource }),
    ...(modulePath !== undefined && { modulePath }),
  };
}

function attributesOf(
  text: string,
  separator: string,
  known: readonly string[],
  problems: string[],
): ReadonlyMap<string, Buffer> {
  const attributes = new Map<string, Buffer>();
  for (const part of text.split(separator).filter((some) => some !== '')) {
    const end = part.indexOf('=');
    const name = end < 0 ? part : part.slice(0, end);
    if (name === 'pin-value') {
      problems.push('pin-value would show the PIN to everybody (ps, shell history)');
    } else if (!known.includes(name)) {
      // Not the value, and of something that is no name nothing at all: it may be a PIN.
      problems.push(
        /^[a-z-]{1,20}$/.test(name) && end > 0 ? `${name} is not known here` : 'a part is no attribute',
      );
    } else if (attributes.has(name)) {
      problems.push(`${name} stands in it twice`);
    } else {
      const value = bytesOf(end < 0 ? '' : part.slice(end + 1));
      if (value === undefined || value.length === 0) problems.push(`${name} has no value that can be read`);
      else if (name !== 'id' && value.includes(0)) problems.push(`${name} holds a zero byte`);
      else attributes.set(name, value);
    }
  }
  return attributes;
}

/** Undefined for a percent sign that two digits do not follow. */
function bytesOf(escaped: string): Buffer | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(escaped)) return undefined;
  const parts = escaped.split(/(%[0-9A-Fa-f]{2})/);
  return Buffer.concat(
    parts.map((part) => (part.startsWith('%') ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part))),
  );
}

function escapeBytes(value: Buffer): string {
  return Array.from(value, (byte) => {
    const character = String.fromCharCode(byte);
    return /[\w.~-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`;
  }).join('');
}

/** An absolute path, or a `file:` URI of this machine's (RFC 8089). */
function fileOf(name: string, query: ReadonlyMap<string, Buffer>, problems: string[]): string | undefined {
  const given = query.get(name)?.toString();
  if (given === undefined) return undefined;
  const path = /^(?:file:(?:\/\/(?:localhost)?)?)?(\/(?!\/).*)$/s.exec(given)?.[1];
  if (path !== undefined) return path;
  problems.push(`${name} is no absolute path of a file`);
  return undefined;
}
