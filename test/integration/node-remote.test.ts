/** `ingot node --host` through a real sshd, on a node that is real but for its kernel and init. Needs root. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { quoteArgv, run } from '../../src/proc/run.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { type CliResult, ingot, PRODUCT_ROOT, startIngot } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, type NextImage } from '../support/next-image.ts';
import { freePort } from '../support/ports.ts';
import { writeTree } from '../support/small-image.ts';
import { type SshServer, startSshServer } from '../support/ssh-server.ts';

let base: BuiltImage;
let scratch: string;
let layout: string;
let node: BootedNode;
let server: SshServer;
let second: NextImage;

beforeAll(async () => {
  base = await builtImage();
  const { toolsRoot } = await testTools(base);
  scratch = await mkdtemp(join(TEST_FOLDER, 'remote-'));
  layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  second = await addNextImage(layout, base.version, scratch, {
    name: '20991231.2',
    fill: (tree) => writeTree(tree, { 'usr/share/second': 'yes' }),
  });
  for (const name of ['machine', 'ssh']) await mkdir(join(scratch, name));
  node = await BootedNode.install(
    `oci:${layout}:${base.version}`,
    join(scratch, 'machine'),
    scratch,
    toolsRoot,
  );
  server = await startSshServer(join(scratch, 'ssh'));
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

beforeEach(async () => {
  await server.setIngot(node.ingotProgram);
});

const there = (...words: readonly string[]): string[] => [
  ...['node', '--host', server.url, '--ssh-config', server.configuration],
  ...words,
];
const remote = (...words: readonly string[]): Promise<CliResult> => ingot(there(...words));

test('what a command says there, it says here', async () => {
  const here = await node.ingot(['node', 'status', '--json']);
  expect(await remote('status', '--json')).toEqual(here);
  expect(await remote('status')).toEqual({ ...(await node.ingot(['node', 'status'])), stderr: '' });
});

test('an update goes on there, and its progress, result and exit codes come here', async () => {
  const reference = `oci:${GIVEN}/layout:${second.name}`;
  const progress = join(scratch, 'progress.jsonl');
  const args = quoteArgv(['bin/ingot', ...there('switch', reference), '--json', '--progress-fd', '3']);
  const { stdout } = await run(['sh', '-c', `exec ${args} 3>'${progress}'`], { cwd: PRODUCT_ROOT });
  expect(JSON.parse(stdout)).toMatchObject({ done: 'staged', offered: { digest: second.digest } });
  const events = (await readFile(progress, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; title?: string; outcome?: string });
  expect(events).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ type: 'stage-start', title: 'Pull and import' }),
      expect.objectContaining({ type: 'stage-end', title: 'Stage', outcome: 'done' }),
    ]),
  );
  expect(await remote('upgrade', '--check', '--exit-code')).toMatchObject({ exitCode: 0 });
  expect(JSON.parse((await remote('history', '--limit=1', '--json')).stdout)).toMatchObject({
    updates: [{ outcome: 'staged' }],
  });
  await node.ingotJson(['node', 'rollback']).catch(() => undefined);
});

test('mistakes are those that it would make there', async () => {
  const evil = `it's $(touch ${scratch}/evil); \`touch ${scratch}/evil\``;
  const said = await remote('pin', evil, '--json');
  expect(said.exitCode).toBe(1);
  expect(JSON.parse(said.stdout)).toMatchObject({
    error: { code: 'NOT_FOUND', message: expect.stringContaining(JSON.stringify(evil)) as string },
  });
  expect(await readdir(scratch)).not.toContain('evil');
  expect(await remote('switch', 'x')).toMatchObject({ exitCode: 2 });
});

describe('a command ends there', () => {
  const folder = 'required.d';
  beforeAll(async () => {
    const script = join(node.path('/etc/greenboot/check'), folder, '1-waits.sh');
    await writeTree(node.path('/etc/greenboot/check'), {
      [join(folder, '1-waits.sh')]: '#!/bin/sh\necho $$ >/run/waits\nexec sleep 250\n',
    });
    await chmod(script, 0o755);
  });
  afterAll(async () => {
    await rm(node.path('/etc/greenboot/check'), { recursive: true });
  });

  /** Whether a program runs that has this in its command line. */
  async function runs(what: string): Promise<boolean> {
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (line.replaceAll('\0', ' ').trim() === what) return true;
    }
    return false;
  }
  async function until(what: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; !(await what()); tries += 1) {
      if (tries > 600) throw new Error('it takes too long');
      await sleep(100);
    }
  }

  test.each([
    ['Ctrl-C', 'SIGINT', 130],
    ['the other end being killed', 'SIGKILL', null],
  ] as const)('after %s', async (_how, signal, code) => {
    await rm(node.path('/run/waits'), { force: true });
    const child = startIngot(there('check'));
    await until(async () => (await readFile(node.path('/run/waits'), 'utf8').catch(() => '')) !== '');
    expect(await runs('sleep 250')).toBe(true);
    process.kill(child.pid, signal);
    const { exitCode, stderr } = await child.ended;
    expect(exitCode).toBe(code);
    if (code === 130) expect(stderr).toMatch(/error\[INTERRUPTED\]: ssh:/);
    await until(async () => !(await runs('sleep 250')));
    // Nothing holds the node's lock any more.
    expect((await node.ingot(['node', 'gc'])).exitCode).toBe(0);
  });
});

describe('a node that cannot be asked is said', () => {
  async function refusal(args: readonly string[]): Promise<string> {
    const { exitCode, stderr } = await ingot(args);
    expect([1, 2]).toContain(exitCode);
    return stderr;
  }

  test('where nothing listens, and where nobody knows the name', async () => {
    const closed = `ssh://root@127.0.0.1:${await freePort()}`;
    expect(await refusal(['node', '--host', closed, '--ssh-config', server.configuration, 'status'])).toMatch(
      /error\[NODE_UNREACHABLE\].*takes no connections/,
    );
    expect(await refusal(['node', '--host', 'ssh://nowhere.invalid', 'status'])).toMatch(
      /error\[NODE_UNREACHABLE\].*name is not known/,
    );
  });

  test('whose host key is another, and that does not know ours', async () => {
    const configuration = join(scratch, 'other_config');
    const text = await readFile(server.configuration, 'utf8');
    const ask = async (changed: string): Promise<string> => {
      await writeFile(configuration, changed);
      return refusal(['node', '--host', server.url, '--ssh-config', configuration, 'status']);
    };
    expect(await ask(text.replace(/^UserKnownHostsFile.*$/m, 'UserKnownHostsFile /dev/null'))).toMatch(
      /host key is not known here/,
    );
    await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(scratch, 'stranger')]);
    expect(await ask(text.replace(/^IdentityFile.*$/m, `IdentityFile "${scratch}/stranger"`))).toMatch(
      /does not let this user in.*\n(?:.*\n)*hint: a key without a password/,
    );
    const stranger = (await readFile(join(scratch, 'stranger.pub'), 'utf8')).trim();
    await writeFile(join(scratch, 'known'), `[127.0.0.1]:${server.port} ${stranger}\n`);
    expect(
      await ask(text.replace(/^UserKnownHostsFile.*$/m, `UserKnownHostsFile "${scratch}/known"`)),
    ).toMatch(/host key has changed/);
  });

  test('without Ingot, or with one that speaks otherwise', async () => {
    await server.setIngot(undefined);
    expect(await refusal(there('status'))).toMatch(/error\[NODE_UNSUITED\]: there is no ingot on ssh:/);
    await server.setIngot(['sh', '-c', 'echo Segmentation fault >&2; exit 139']);
    expect(await refusal(there('status'))).toMatch(/error\[NODE_FAILED\].*ended with 139.*\n.*Segmentation/);
    // What Ingot says to an option that it does not have.
    const answer = JSON.stringify({ error: { code: 'USAGE', message: `unknown option '--peer'` } }, null, 2);
    await writeFile(join(scratch, 'answer'), `${answer}\n`);
    await server.setIngot(['sh', '-c', `cat '${scratch}/answer'; exit 2`]);
    expect(await refusal(there('status'))).toMatch(/error\[NODE_UNSUITED\].*too old to be asked/);
    expect((await ingot(['node', '--peer', '7', 'status'])).stderr).toMatch(
      /error\[NODE_UNSUITED\].*7 is spoken/,
    );
  });

  test('in a way that is no address', async () => {
    expect(await refusal(['node', '--host', 'ssh://-oProxyCommand=x', 'status'])).toMatch(/error\[USAGE\]/);
    expect(await refusal(['node', '--ssh-config', 'x', 'status'])).toMatch(/belongs to --host/);
  });
});
