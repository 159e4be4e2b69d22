/** Debian's registry, started on loopback with credentials and TLS as asked for. Debian: docker-registry, openssl. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { run } from '../../src/proc/run.ts';
import { freePort, listens } from './ports.ts';

export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** The registry's own files. */
  readonly root: string;
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export const USER = 'ingot';
export const PASSWORD = 'secret word';
/** bcrypt of PASSWORD; the registry takes nothing else. */
const HTPASSWD = `${USER}:$2b$04$B1wi5Iypexuag.IrBGsOve0EhwEvvoBy/I0nPGMxZq4msaV1ob8oK\n`;

export interface RegistryOptions {
  readonly tls?: Certificate;
  /** With TLS: only who shows a certificate of this authority is let in. */
  readonly clientAuthority?: string;
  readonly htpasswd?: boolean;
  /** Further settings, as YAML below the top level. */
  readonly settings?: string;
  /** Where its folder is made. Default: the system's for temporary files. */
  readonly folder?: string;
}

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const root = await mkdtemp(join(options.folder ?? tmpdir(), 'ingot-registry-'));
  const port = await freePort();
  const htpasswd = join(root, 'htpasswd');
  await writeFile(htpasswd, HTPASSWD);
  const config = [
    'version: 0.1',
    'log: {level: error, accesslog: {disabled: true}}',
    `storage: {filesystem: {rootdirectory: ${join(root, 'data')}}, delete: {enabled: true}}`,
    'http:',
    `  addr: 127.0.0.1:${port}`,
    `  secret: for-tests`,
    ...(options.tls === undefined
      ? []
      : [
          `  tls: {certificate: ${options.tls.cert}, key: ${options.tls.key}${
            options.clientAuthority === undefined ? '' : `, clientcas: [${options.clientAuthority}]`
          }}`,
        ]),
    ...(options.htpasswd === true ? [`auth: {htpasswd: {realm: test, path: ${htpasswd}}}`] : []),
    options.settings ?? '',
  ];
  await writeFile(join(root, 'config.yml'), config.join('\n'));
  const child = spawn('docker-registry', ['serve', join(root, 'config.yml')], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => {
      resolve();
    });
    child.once('error', reject);
  });
  const host = `127.0.0.1:${port}`;
  for (let tries = 0; !(await listens(port)); tries += 1) {
    if (tries > 200) throw new Error('docker-registry does not start');
    await sleep(50);
  }
  return {
    host,
    root,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** A certificate for loopback that is its own authority. */
export async function makeCertificate(folder: string): Promise<Certificate> {
  const cert = join(folder, 'registry.crt');
  const key = join(folder, 'registry.key');
  await run([
    ...(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'] as const),
    ...[
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=ingot test',
      '-addext',
      'subjectAltName=IP:127.0.0.1,DNS:localhost',
    ],
    ...['-keyout', key, '-out', cert],
  ]);
  return { cert, key };
}

/** What `skopeo login` would write. */
export async function writeAuthFile(path: string, hosts: readonly string[]): Promise<void> {
  const auth = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
  await writeFile(path, JSON.stringify({ auths: Object.fromEntries(hosts.map((host) => [host, { auth }])) }));
}
