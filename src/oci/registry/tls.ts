/** Which certificates a registry is verified with: the system's, those of `certs.d` folders, and given ones. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';

import { errnoOf, IngotError } from '../../errors.ts';
import type { Environment } from './credentials.ts';
import type { ServerTls } from './http.ts';

export interface TlsOptions {
  readonly env: Environment;
  /** Files of certificates to trust besides, in PEM. */
  readonly ca: readonly string[];
}

/**
 * @throws IngotError USAGE when a given file cannot be read or holds what is no certificate. What is returned throws it
 *   of a host's own certificate whose key is not its.
 */
export async function tlsFrom({ env, ca }: TlsOptions): Promise<(host: string) => Promise<ServerTls>> {
  const given = await Promise.all(ca.map(readCertificates));
  const folders = certificateFolders(env);
  let system: readonly string[] | undefined;
  return async (host) => {
    const found = await Promise.all(folders.map((folder) => readFolder(join(folder, host))));
    system ??= await systemAuthorities(env);
    const pair = found.find(({ cert }) => cert !== undefined);
    return {
      ca: [...system, ...given, ...found.flatMap((folder) => folder.ca ?? [])],
      cert: pair?.cert,
      key: pair?.key,
    };
  };
}

/** Where Debian, Fedora, SUSE and Alpine keep all authorities in one file. */
const SYSTEM_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * The authorities of this machine, in PEM, and no others: one that an administrator took away is not trusted. Where the
 * machine has none, those that Node.js brings; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for OpenSSL, and
 * `NODE_EXTRA_CA_CERTS` further ones.
 */
export async function systemAuthorities(
  env: Environment,
  files: readonly string[] = SYSTEM_FILES,
): Promise<readonly string[]> {
  const extra = getCACertificates('extra');
  const isSaid = ['SSL_CERT_FILE', 'SSL_CERT_DIR'].some((name) => (env[name] ?? '') !== '');
  if (isSaid) return [...getCACertificates('system'), ...extra];
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return [text, ...extra];
  }
  return [...getCACertificates('bundled'), ...extra];
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|$)/gs;

/** containers-certs.d(5), and Docker's. */
function certificateFolders(env: Environment): readonly string[] {
  const config = env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config');
  return [join(config, 'containers/certs.d'), '/etc/containers/certs.d', '/etc/docker/certs.d'];
}

/** `*.crt` are trusted; `NAME.cert` with `NAME.key` is shown to the server. */
async function readFolder(folder: string): Promise<ServerTls> {
  const names: string[] = await readdir(folder).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  });
  const ca = await Promise.all(
    names
      .filter((name) => name.endsWith('.crt'))
      .sort()
      .map((name) => readText(join(folder, name))),
  );
  const pair = names
    .sort()
    .find((name) => name.endsWith('.cert') && names.includes(name.replace(/cert$/, 'key')));
  if (pair === undefined) return { ca };
  const paths = [pair, pair.replace(/cert$/, 'key')].map((name) => join(folder, name));
  const [cert = '', key = ''] = await Promise.all(paths.map(readText));
  requirePair({ cert, key }, paths);
  return { ca, cert, key };
}

/** OpenSSL's own words for these would name no file. */
function requirePair(
  { cert, key }: { readonly cert: string; readonly key: string },
  paths: readonly string[],
): void {
  const [certPath = '', keyPath = ''] = paths;
  const hint = `a host's folder has *.crt to trust, and NAME.cert with NAME.key of our own, in PEM`;
  const parse = <T>(path: string, what: string, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      throw new IngotError('USAGE', `${path} holds no ${what}`, { hint, cause: error });
    }
  };
  const certificate = parse(certPath, 'certificate in PEM', () => new X509Certificate(cert));
  const privateKey = parse(keyPath, 'private key in PEM, or one with a passphrase', () =>
    createPrivateKey(key),
  );
  if (certificate.checkPrivateKey(privateKey)) return;
  throw new IngotError('USAGE', `${keyPath} is not the key of ${certPath}`, { hint });
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: unknown) => {
    throw new IngotError('USAGE', `${path}, for TLS, cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  });
}

async function readCertificates(path: string): Promise<string> {
  const text = await readText(path);
  const blocks = [...text.matchAll(CERTIFICATE)];
  if (blocks.length === 0) {
    throw new IngotError('USAGE', `${path} holds no certificate in PEM`, {
      hint: 'a certificate begins with -----BEGIN CERTIFICATE-----',
    });
  }
  for (const { 0: block, index } of blocks) {
    try {
      new X509Certificate(block);
    } catch (error) {
      const line = text.slice(0, index).split('\n').length;
      throw new IngotError('USAGE', `${path}:${line}: what begins here is no certificate`, {
        hint: 'is the file whole? `openssl x509 -in FILE -noout -text` should read it',
        cause: error,
      });
    }
  }
  return text;
}
