import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { Store } from '../../src/store/store.ts';

const INGOT = resolve(import.meta.dirname, '../../bin/ingot');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot cli ä '));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `ingot` as a user would; `meanwhile` may talk to it. */
async function ingot(
  args: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly program?: string;
    readonly meanwhile?: (child: ReturnType<typeof spawn>, stderr: () => string) => Promise<void>;
  } = {},
): Promise<Outcome> {
  const child = spawn(options.program ?? INGOT, args, {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, INGOT_STORE: join(folder, 'store'), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = once(child, 'close');
  await options.meanwhile?.(child, () => stderr);
  await closed;
  return { exitCode: child.exitCode, stdout, stderr };
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('condition not met within 20 s');
    await new Promise((wait) => setTimeout(wait, 20));
  }
}

async function processesNaming(text: string): Promise<number> {
  let found = 0;
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    if ((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(text)) found += 1;
  }
  return found;
}

test('the version is printed, also through a link', async () => {
  const { version } = JSON.parse(
    await readFile(resolve(import.meta.dirname, '../../package.json'), 'utf8'),
  ) as { version: string };
  const link = join(folder, 'ingot');
  await symlink(INGOT, link);
  expect(await ingot(['--version'])).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
  expect((await ingot(['--version'], { program: link })).stdout).toBe(`${version}\n`);
});

test('help of the program and of each command has examples', async () => {
  const { stdout, exitCode, stderr } = await ingot(['--help']);
  expect([exitCode, stderr]).toEqual([0, '']);
  expect((await ingot([])).stdout).toBe(stdout);
  const commands = stdout
    .slice(stdout.indexOf('Commands:'), stdout.indexOf('Examples:'))
    .split('\n')
    .map((line) => /^ {2}([a-z]+)/.exec(line)?.[1])
    .filter((name): name is string => name !== undefined && name !== 'help');
  expect(commands).toContain('store');
  const single = commands.filter((name) => name !== 'store').map((name) => [name]);
  const helps = await Promise.all(
    [...single, ['store', 'gc'], ['key', 'new'], ['key', 'show']].map(
      async (words) => [words.join(' '), (await ingot([...words, '--help'])).stdout] as const,
    ),
  );
  const bare = helps.filter(([, help]) => !help.includes('Examples:') || !help.includes('--json'));
  expect(bare.map(([name]) => name)).toEqual([]);
});

describe('a command line that makes no sense is USAGE, exit code 2, nothing on stdout', () => {
  test.each([
    [['stroe'], /did you mean store\?/i],
    [['store', 'gcc'], /did you mean gc\?/i],
    [['store', 'gc', '--kep', '1'], /did you mean --keep\?/i],
    [['store', 'gc', '--keep', 'much'], /8GiB/],
    [['store'], /no store command given/],
    [['store', 'df', 'extra'], /too many arguments/],
    [['completion', 'csh'], /bash, zsh, fish/],
    [['--store'], /argument missing/],
    [['doctor', '--progress-fd', '99'], /not an open file descriptor/],
    [['doctor', '--progress-fd', 'x'], /not an open file descriptor/],
  ])('%j', async (args, expected) => {
    const { exitCode, stdout, stderr } = await ingot(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^error\[USAGE\]: /);
    expect(stderr).toMatch(/^hint: /m);
    expect(stderr).toMatch(expected);
  });

  test('and with --json the error is the result', async () => {
    const { exitCode, stdout } = await ingot(['stroe', '--json']);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1, error: { code: 'USAGE' } });
  });
});

test('global options stand before or after the command, and the store is chosen by them', async () => {
  const other = join(folder, 'other store');
  for (const args of [
    ['--json', '--store', other, 'store', 'df'],
    ['store', 'df', `--store=${other}`, '--json'],
    ['store', '--store', 'other store', 'df', '--json'],
  ]) {
    const { stdout, exitCode, stderr } = await ingot(args);
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1, path: other, bytes: 0 });
  }
  const { stdout } = await ingot(['store', 'df', '--json'], {
    env: { INGOT_STORE: '', XDG_CACHE_HOME: folder },
  });
  expect(JSON.parse(stdout)).toMatchObject({ path: join(folder, 'ingot') });
});

test('a store that cannot be is ENVIRONMENT, exit code 2', async () => {
  const { exitCode, stderr } = await ingot(['store', 'df', '--store', join(INGOT, 'store')]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error\[ENVIRONMENT\]: [^]*^hint: /m);
});

test('a store where no folder can be made is ENVIRONMENT too, and not a wait without end', async () => {
  const { exitCode, stderr } = await ingot(['store', 'df', '--store', '/proc/no/store']);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error\[ENVIRONMENT\]: the store \/proc\/no\/store cannot be used \(ENOENT\)/);
});

test('a place that cannot be written is said to be one, and is no bug', async () => {
  await writeFile(join(folder, 'x.yaml'), 'name: x\nbase: debian@13\n');
  await writeFile(join(folder, 'file'), '');
  const { exitCode, stderr } = await ingot(['schema', '--write', join(folder, 'file/schema')]);
  expect([exitCode, stderr.startsWith('error[ENVIRONMENT]')]).toEqual([2, true]);
  const quickstart = await ingot(['quickstart', 'x.yaml', '--output', join(folder, 'file/below')]);
  expect(quickstart.exitCode).toBe(2);
  expect(quickstart.stderr).toMatch(/^error\[USAGE\]: .*file is not a folder$/m);
});

test('the caller’s umask decides no mode of what is made', async () => {
  await ingot(['-c', 'umask 077; exec "$0" store df', INGOT], { program: 'bash' });
  expect((await stat(join(folder, 'store/trees'))).mode & 0o777).toBe(0o755);
});

test('colours only where they are wanted', async () => {
  expect((await ingot(['stroe'])).stderr).not.toContain('\u001B');
  expect((await ingot(['stroe'], { env: { FORCE_COLOR: '1' } })).stderr).toContain('\u001B[');
  expect((await ingot(['stroe', '--no-color'], { env: { FORCE_COLOR: '1' } })).stderr).not.toContain(
    '\u001B',
  );
});

test('a reader that leaves early is no error', async () => {
  const { stdout, stderr, exitCode } = await ingot(
    ['-c', 'set -o pipefail; "$0" completion bash | head -n 1', INGOT],
    { program: 'bash' },
  );
  expect([stdout.split('\n').length, stderr, exitCode]).toEqual([2, '', 0]);
});

test('doctor examines this machine', async () => {
  const { stdout, exitCode } = await ingot(['doctor', '--json']);
  const { healthy, checks } = JSON.parse(stdout) as {
    healthy: boolean;
    checks: { name: string; status: string; mend?: string }[];
  };
  expect(exitCode).toBe(healthy ? 0 : 1);
  const byName = Object.fromEntries(checks.map((check) => [check.name, check]));
  for (const name of ['node', 'root', 'bubblewrap', 'namespaces', 'overlayfs', 'sandbox', 'mirror']) {
    expect(byName[name], name).toMatchObject({ status: 'pass' });
  }
  expect(checks.filter(({ status, mend }) => status !== 'pass' && mend === undefined)).toEqual([]);
});

describe('interruption', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s while waiting exits 130 and leaves no process, lock or store entry',
    async (signal) => {
      const path = join(folder, 'store');
      const store = await Store.open(path);
      {
        await using _use = await store.use();
        const { exitCode, stdout, stderr } = await ingot(['store', 'gc'], {
          meanwhile: async (child, said) => {
            await until(() => said().includes('waiting for running builds'));
            child.kill(signal);
          },
        });
        expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: '' });
        expect(stderr).toMatch(/^error\[INTERRUPTED\]/m);
      }
      await until(async () => (await processesNaming(path)) === 0);
      expect(await readdir(join(path, 'tmp'))).toEqual([]);
      expect((await ingot(['store', 'gc'])).exitCode).toBe(0);
    },
  );
});

test('a terminal that is closed ends the work like Ctrl-C', async () => {
  const store = await Store.open(join(folder, 'store'));
  await using _use = await store.use();
  // script(1) holds the terminal, which is gone when it is. The outer shell leads the session, as a person's does.
  const inner = join(folder, 'inner');
  await writeFile(inner, `trap : HUP; '${INGOT}' store gc; echo $? >code`);
  const shell = 'sh inner; true';
  await ingot(['-qec', shell, '/dev/null'], {
    program: 'script',
    env: { TERM: 'xterm' },
    meanwhile: async (child) => {
      let seen = '';
      child.stdout?.on('data', (chunk: Buffer) => (seen += chunk.toString()));
      await until(() => seen.includes('waiting for running builds'));
      child.kill('SIGKILL');
    },
  });
  const code = (): Promise<string> => readFile(join(folder, 'code'), 'utf8').catch(() => '');
  await until(async () => (await code()) !== '');
  expect(await code()).toBe('130\n');
  expect(await readdir(join(folder, 'store/tmp'))).toEqual([]);
});

test('a descriptor that is Node.js’s own, or cannot be written, is no place for progress', async () => {
  for (const fd of [3, 4, 5, 6, 9, 12, 13, 16, 19]) {
    const { exitCode, stderr } = await ingot(['completion', 'bash', '--progress-fd', String(fd)]);
    expect([fd, exitCode, stderr.split(':')[0]]).toEqual([fd, 2, 'error[USAGE]']);
  }
  const reading = ['-c', 'exec "$0" completion bash --progress-fd 3 3</etc/passwd', INGOT];
  expect((await ingot(reading, { program: 'bash' })).exitCode).toBe(2);
  const shared = ['-c', 'exec "$0" completion bash --progress-fd 3 3>&1', INGOT];
  expect((await ingot(shared, { program: 'bash' })).exitCode).toBe(0);
});

test('progress goes to its descriptor as JSON lines, and nothing else there', async () => {
  const store = await Store.open(join(folder, 'store'));
  const use = await store.use();
  const progress = join(folder, 'progress.jsonl');
  const { exitCode } = await ingot(['-c', 'exec "$0" store gc --progress-fd 3 3>"$1"', INGOT, progress], {
    program: 'bash',
    meanwhile: async (_child, said) => {
      await until(() => said().includes('waiting for running builds'));
      await use[Symbol.asyncDispose]();
    },
  });
  expect(exitCode).toBe(0);
  const lines = (await readFile(progress, 'utf8')).trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    {
      schemaVersion: 1,
      time: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      type: 'log',
      level: 'info',
      message: 'waiting for running builds to end',
    },
  ]);
});
