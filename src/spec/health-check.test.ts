import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { healthCheck, renderHttpCheck } from './health-check.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-health-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** As the gate runs it. */
async function runCheck(
  script: string,
  path = '',
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const env = { PATH: [path, '/usr/sbin:/usr/bin:/sbin:/bin'].filter(Boolean).join(':') };
  const { exitCode, stdout, stderr } = await run(['/bin/sh', '-c', script], { env, okExitCodes: [0, 1] });
  return { exitCode, output: `${stdout}${stderr}`.trim() };
}

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a server that answers is healthy, and the question is a plain one', async () => {
  const asked: string[] = [];
  await using server = createServer(({ method, url, headers }, response) => {
    asked.push(`${method} ${url} ${headers.host}`);
    response.end('fine');
  });
  const at = await listening(server);
  const { exitCode, output } = await runCheck(renderHttpCheck(`${at}/health?full=1`, undefined, 5));
  expect({ exitCode, output }).toEqual({ exitCode: 0, output: '/health?full=1: HTTP/1.1 200 OK' });
  expect(asked).toEqual(['GET /health?full=1 127.0.0.1']);
});

test('one that comes up late is waited for', async () => {
  let count = 0;
  await using server = createServer((_request, response) => {
    response.statusCode = ++count < 2 ? 503 : 204;
    response.end();
  });
  const at = await listening(server);
  expect(await runCheck(renderHttpCheck(at, undefined, 10))).toEqual({
    exitCode: 0,
    output: '/: HTTP/1.1 204 No Content',
  });
});

test('one that refuses, is not there, or says nothing is not healthy, and why is said', async () => {
  await using server = createServer((_request, response) => {
    response.statusCode = 503;
    response.end();
  });
  const at = await listening(server);
  expect(await runCheck(renderHttpCheck(`${at}/v1/models`, undefined, 1))).toEqual({
    exitCode: 1,
    output: '/v1/models: HTTP/1.1 503 Service Unavailable',
  });
  await using mute = createSocketServer((socket) => socket.destroy());
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const { port } = mute.address() as AddressInfo;
  expect(await runCheck(renderHttpCheck(`http://127.0.0.1:${port}/`, undefined, 1))).toEqual({
    exitCode: 1,
    output: `/: port ${port} takes the question and does not answer`,
  });
  mute.close();
  await once(mute, 'close');
  expect((await runCheck(renderHttpCheck(`http://127.0.0.1:${port}/`, undefined, 1))).output).toBe(
    `/: nothing listens on port ${port}`,
  );
});

test('a service that its own conditions keep from running is not asked', async () => {
  const systemctl = async (values: Readonly<Record<string, string>>): Promise<void> => {
    const cases = Object.entries(values).map(([name, value]) => `*--property=${name}*) echo ${value};;`);
    await writeFile(join(folder, 'systemctl'), `#!/bin/sh\ncase "$*" in ${cases.join(' ')} esac\n`);
    await chmod(join(folder, 'systemctl'), 0o755);
  };
  const script = renderHttpCheck('http://127.0.0.1:9/', 'vllm.service', 1);
  await systemctl({ ConditionResult: 'no', ConditionTimestampMonotonic: '123' });
  expect(await runCheck(script, folder)).toEqual({
    exitCode: 0,
    output: 'the conditions of vllm.service keep it from running: there is nothing to ask',
  });
  // Never tried is not the same.
  await systemctl({ ConditionResult: 'no', ConditionTimestampMonotonic: '0' });
  expect((await runCheck(script, folder)).exitCode).toBe(1);
  await systemctl({ ConditionResult: 'yes', ConditionTimestampMonotonic: '123' });
  expect((await runCheck(script, folder)).exitCode).toBe(1);
});

test('a command stays as it was written', () => {
  expect(healthCheck({ name: 'a', run: 'true', timeoutSeconds: 3 })).toEqual({
    name: 'a',
    run: 'true',
    timeoutSeconds: 3,
  });
});
