/** Which certificates a registry is verified with: the system's, those of `certs.d` folders, and given ones. */
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

/** @throws IngotError USAGE when a file cannot be read or holds no certificate */
export async function tlsFrom({ env, ca }: TlsOptions): Promise<(host: string) => Promise<ServerTls>> {
  const given = await Promise.all(ca.map(readCertificates));
  const folders = certificateFolders(env);
  let system: readonly string[] | undefined;
  return async (host) => {
    const found = await Promise.all(folders.map((folder) => readFolder(join(folder, host))));
    // Naming any replaces what Node.js trusts by itself, so all are named.
    system ??= [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
    const pair = found.find(({ cert }) => cert !== undefined);
    return {
      ca: [...system, ...given, ...found.flatMap((folder) => folder.ca ?? [])],
      cert: pair?.cert,
      key: pair?.key,
    };
  };
}

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
      .map((name) => readFile(join(folder, name), 'utf8')),
  );
  const pair = names
    .sort()
    .find((name) => name.endsWith('.cert') && names.includes(name.replace(/cert$/, 'key')));
  if (pair === undefined) return { ca };
  const [cert, key] = await Promise.all(
    [pair, pair.replace(/cert$/, 'key')].map((name) => readFile(join(folder, name), 'utf8')),
  );
  return { ca, cert, key };
}

async function readCertificates(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new IngotError('USAGE', `the certificates ${path} cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  });
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw new IngotError('USAGE', `${path} holds no certificate in PEM`, {
    hint: 'a certificate begins with -----BEGIN CERTIFICATE-----',
  });
}
