import { getPriority } from 'node:os';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';

test('lowers the priority of its thread and of no other', async () => {
  const before = getPriority();
  const module = new URL('./yield-thread.ts', import.meta.url).href;
  const script = `
    import(${JSON.stringify(module)}).then(({ yieldThread }) => {
      yieldThread();
      const thread = Number(require('node:fs').readlinkSync('/proc/thread-self').split('/').at(-1));
      require('node:worker_threads').parentPort.postMessage(require('node:os').getPriority(thread));
    });`;
  const worker = new Worker(script, { eval: true, env: {}, execArgv: [] });
  const [there] = (await once(worker, 'message')) as [number];
  await worker.terminate();
  expect(there).toBe(Math.min(19, before + 6));
  expect(getPriority()).toBe(before);
});
