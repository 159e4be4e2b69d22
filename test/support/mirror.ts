/**
 * A real, tiny, signed package archive, and a server of it that can be told to misbehave.
 *
 * Packages are made with dpkg-deb, indexes are signed with a throwaway key, and apt verifies them as it would
 * Debian's.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { LockedPackage } from '../../src/packages/package.ts';
import { run } from '../../src/proc/run.ts';

export interface TinyPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
  readonly provides?: string;
  readonly conflicts?: string;
  readonly essential?: boolean;
  /** Shell commands that run when it is configured. */
  readonly postinst?: string;
  /** Bytes of content that do not compress. */
  readonly filler?: number;
}

/** A signing key in a folder of its own. */
export class TestKey implements AsyncDisposable {
  readonly home: string;
  /** The public key, as an archive's keyring. */
  readonly keyring: string;

  private constructor(home: string) {
    this.home = home;
    this.keyring = join(home, 'archive keyring.gpg');
  }

  static async create(): Promise<TestKey> {
    // The agent's socket lies in this folder, and socket paths are short.
    const key = new TestKey(await mkdtemp(join(tmpdir(), 'ingot-key-')));
    await key.gpg('--quick-generate-key', '--passphrase', '', 'Test Archive', 'ed25519', 'sign', 'never');
    await key.gpg('--export', '--output', key.keyring);
    return key;
  }

  /** Fingerprint of the key, as gpg sees it. */
  async fingerprint(): Promise<string> {
    const argv = ['gpg', '--batch', '--homedir', this.home, '--list-keys', '--with-colons'] as const;
    const { stdout } = await run(argv);
    return /^fpr:+([0-9A-F]{40}):/m.exec(stdout)?.[1] ?? '';
  }

  async gpg(...args: string[]): Promise<void> {
    await run(['gpg', '--batch', '--quiet', '--homedir', this.home, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(['gpgconf', '--homedir', this.home, '--kill', 'all']);
    await rm(this.home, { recursive: true, force: true });
  }
}

/** An archive `<root>/dists/<suite>` and `<root>/pool`. What was once published stays in the pool. */
export class TinyArchive {
  readonly root: string;
  readonly suite: string;
  readonly key: TestKey;

  constructor(root: string, key: TestKey, suite = 'tiny') {
    this.root = root;
    this.key = key;
    this.suite = suite;
  }

  /** Makes the suite hold exactly these packages. */
  async publish(
    packages: readonly TinyPackage[],
    validUntil = new Date(Date.now() + 86_400_000),
  ): Promise<void> {
    const stanzas: string[] = [];
    for (const item of packages) stanzas.push(await this.#add(item));
    const index = stanzas.join('\n');
    const dist = join(this.root, 'dists', this.suite);
    await mkdir(join(dist, 'main/binary-amd64'), { recursive: true });
    await writeFile(join(dist, 'main/binary-amd64/Packages'), index);
    const date = new Date(Math.min(Date.now(), validUntil.getTime()) - 60_000);
    const release = [
      'Origin: Test',
      'Label: Test',
      `Suite: ${this.suite}`,
      `Codename: ${this.suite}`,
      `Date: ${date.toUTCString().replace('GMT', 'UTC')}`,
      `Valid-Until: ${validUntil.toUTCString().replace('GMT', 'UTC')}`,
      'Architectures: amd64',
      'Components: main',
      'SHA256:',
      ` ${sha256(index)} ${Buffer.byteLength(index)} main/binary-amd64/Packages`,
      '',
    ].join('\n');
    await writeFile(join(dist, 'Release'), release);
    const signed = join(dist, 'InRelease');
    await this.key.gpg('--yes', '--clearsign', '--output', signed, join(dist, 'Release'));
  }

  /** The same packages as a repository without suites, as vendors have them: everything at the root. */
  async publishFlat(packages: readonly TinyPackage[]): Promise<void> {
    const stanzas: string[] = [];
    for (const item of packages) stanzas.push((await this.#add(item)).replace('Filename: ', 'Filename: ./'));
    await this.publishIndex(stanzas.join('\n'));
  }

  /** An index alone, of packages that nobody fetches. */
  async publishIndex(index: string): Promise<void> {
    await writeFile(join(this.root, 'Packages'), index);
    const date = new Date(Date.now() - 60_000).toUTCString().replace('GMT', 'UTC');
    const sum = `SHA256:\n ${sha256(index)} ${Buffer.byteLength(index)} Packages\n`;
    await writeFile(join(this.root, 'Release'), `Origin: Vendor\nDate: ${date}\n${sum}`);
    const signed = join(this.root, 'InRelease');
    await this.key.gpg('--yes', '--clearsign', '--output', signed, join(this.root, 'Release'));
  }

  /** A published package as a lock would name it. */
  async locked(name: string, version: string): Promise<LockedPackage> {
    const filename = poolPath(name, version);
    const content = await readFile(join(this.root, filename));
    return {
      name,
      version,
      architecture: 'amd64',
      sha256: sha256(content),
      size: content.length,
      filename,
      archive: 'debian',
    };
  }

  async #add(item: TinyPackage): Promise<string> {
    const { name, version, filler = 0 } = item;
    const control = [
      `Package: ${name}`,
      `Version: ${version}`,
      'Architecture: amd64',
      'Maintainer: Test <test@example.com>',
      ...(item.essential === true ? ['Essential: yes'] : []),
      ...(item.depends === undefined ? [] : [`Depends: ${item.depends}`]),
      ...(item.provides === undefined ? [] : [`Provides: ${item.provides}`]),
      ...(item.conflicts === undefined ? [] : [`Conflicts: ${item.conflicts}`]),
      `Description: ${name} for tests`,
      '',
    ].join('\n');
    const tree = await mkdtemp(join(tmpdir(), 'ingot-deb-'));
    const filename = poolPath(name, version);
    const file = join(this.root, filename);
    try {
      await mkdir(join(tree, 'DEBIAN'));
      await mkdir(join(tree, 'usr/share', name), { recursive: true });
      await writeFile(join(tree, 'DEBIAN/control'), control);
      if (item.postinst !== undefined) {
        await writeFile(join(tree, 'DEBIAN/postinst'), `#!/bin/sh\nset -e\n${item.postinst}\n`, {
          mode: 0o755,
        });
      }
      await writeFile(join(tree, 'usr/share', name, 'content'), incompressible(`${name} ${version}`, filler));
      await mkdir(join(file, '..'), { recursive: true });
      const env = { SOURCE_DATE_EPOCH: '1700000000' };
      await run(['dpkg-deb', '--root-owner-group', '-Znone', '--build', tree, file], { env });
    } finally {
      await rm(tree, { recursive: true, force: true });
    }
    const content = await readFile(file);
    return [
      control.trimEnd(),
      `Filename: ${filename}`,
      `Size: ${content.length}`,
      `SHA256: ${sha256(content)}`,
      '',
    ].join('\n');
  }
}

function poolPath(name: string, version: string): string {
  return `pool/main/${name}/${name}_${version}_amd64.deb`;
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** The same bytes for the same seed. */
function incompressible(seed: string, length: number): Buffer {
  const blocks: Buffer[] = [Buffer.from(`${seed}\n`)];
  for (let at = 0; at < length; at += 32) blocks.push(createHash('sha256').update(`${seed} ${at}`).digest());
  return Buffer.concat(blocks);
}

export type Fault =
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'redirect'; readonly to: string }
  /** Cuts the connection: at once, or in the middle. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'cut' }
  /** Sends the first half and then nothing more. */
  | { readonly kind: 'stall' }
  /** Sends in small pieces, with a pause before each. */
  | { readonly kind: 'slow'; readonly pauseMs: number; readonly pieces: number }
  | { readonly kind: 'corrupt' }
  /** A whole answer, honest about its length, that is not the whole file. */
  | { readonly kind: 'short' }
  /** More than the file, without saying so beforehand. */
  | { readonly kind: 'long' };

interface Rule {
  readonly path: RegExp;
  readonly fault: Fault;
  times: number;
}

/** Serves a folder on the loopback interface. */
export class MirrorServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #root: string;
  readonly #rules: Rule[] = [];
  /** Paths that were asked for, in order. */
  readonly requests: string[] = [];

  private constructor(root: string) {
    this.#root = root;
    this.#server = createServer((request, response) => {
      void this.#answer(request, response);
    });
  }

  static async start(root: string): Promise<MirrorServer> {
    const server = new MirrorServer(root);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Misbehaves on paths that match, so many times. */
  misbehave(path: RegExp, fault: Fault, times = Infinity): void {
    this.#rules.push({ path, fault, times });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(request.url ?? '/');
    this.requests.push(path);
    const content = await readFile(join(this.#root, path)).catch(() => undefined);
    const rule = this.#rules.find((candidate) => candidate.times > 0 && candidate.path.test(path));
    if (rule !== undefined) {
      rule.times -= 1;
      await misbehave(rule.fault, content ?? Buffer.alloc(0), response);
    } else if (content === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-length': content.length }).end(content);
  }
}

async function misbehave(fault: Fault, content: Buffer, response: ServerResponse): Promise<void> {
  const half = content.subarray(0, content.length >> 1);
  const whole = { 'content-length': content.length };
  switch (fault.kind) {
    case 'status':
      response.writeHead(fault.status).end();
      return;
    case 'redirect':
      response.writeHead(302, { location: fault.to }).end();
      return;
    case 'reset':
      response.destroy();
      return;
    case 'cut':
      response.writeHead(200, whole);
      response.write(half, () => response.destroy());
      return;
    case 'stall':
      response.writeHead(200, whole);
      response.write(half);
      return;
    case 'slow': {
      response.writeHead(200, whole);
      const size = Math.ceil(content.length / fault.pieces);
      for (let at = 0; at < content.length; at += size) {
        await sleep(fault.pauseMs);
        response.write(content.subarray(at, at + size));
      }
      response.end();
      return;
    }
    case 'corrupt': {
      const damaged = Buffer.from(content);
      damaged[damaged.length >> 1] = (damaged[damaged.length >> 1] ?? 0) ^ 0xff;
      response.writeHead(200, whole).end(damaged);
      return;
    }
    case 'short':
      response.writeHead(200, { 'content-length': half.length }).end(half);
      return;
    case 'long':
      response.writeHead(200).end(Buffer.concat([content, Buffer.alloc(4096)]));
      return;
  }
}
