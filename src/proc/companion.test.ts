import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

import { startCompanion } from './companion.ts';

test('channels carry both directions and end with the program', async () => {
  await using companion = await startCompanion(
    ['sh', '-c', 'read line <&4; printf "got %s\\n" "$line" >&3; read line <&3; exit "$line"'],
    { channels: 2, label: 'sh' },
  );
  const [first, second] = companion.channels;
  if (first === undefined || second === undefined) throw new Error('two channels');
  second.write('hello\n');
  const [answer] = (await once(first, 'data')) as [Buffer];
  expect(answer.toString()).toBe('got hello\n');
  first.write('7\n');
  expect((await companion.exited).exitCode).toBe(7);
  expect(first.destroyed).toBe(true);
});

test('kill ends grandchildren, keeps the last output, and is fine when the program is gone', async () => {
  const companion = await startCompanion(['sh', '-c', 'echo started >&2; sleep 1000 & echo $! >&3; wait'], {
    channels: 1,
    label: 'sh',
  });
  const [channel] = companion.channels;
  if (channel === undefined) throw new Error('one channel');
  const [data] = (await once(channel, 'data')) as [Buffer];
  const grandchild = Number(data.toString());
  await companion.kill();
  await companion.kill();
  // Gone, or a zombie that its new parent has not reaped yet.
  const state = await readFile(`/proc/${grandchild}/stat`, 'utf8').catch(() => '(sleep) Z');
  expect(state).toMatch(/\) [ZX]/);
  const exit = await companion.exited;
  expect(exit.signal).toBe('SIGTERM');
  expect(exit.output).toBe('started');
});

test('a missing program is TOOL_MISSING', async () => {
  await expect(startCompanion(['/no/such/program'], { channels: 1, label: 'x' })).rejects.toMatchObject({
    code: 'TOOL_MISSING',
  });
});

test('kill -9 of the owner ends it', async () => {
  const module = new URL('companion.ts', import.meta.url).href;
  const script = `
    const { startCompanion } = await import(${JSON.stringify(module)});
    const { channels: [channel] } = await startCompanion(
      ['sh', '-c', 'echo $$ >&3; exec sleep 1000'], { channels: 1, label: 'sh' });
    channel.on('data', (pid) => console.log(String(pid)));`;
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [pid] = (await once(owner.stdout, 'data')) as [Buffer];
  const status = (): Promise<string> =>
    readFile(`/proc/${pid.toString().trim()}/status`, 'utf8').catch(() => 'gone');
  expect(await status()).toMatch(/^State:\s+[RS]/m);
  owner.kill('SIGKILL');
  await expect.poll(status).toMatch(/^gone$|^State:\s+Z/m);
});
