import type { Duplex } from 'node:stream';
import { duplexPair } from 'node:stream';
import { expect, test } from 'vitest';

import { parseQmpMessage, Qmp, type QmpEvent } from './qmp.ts';

// Lines as QEMU 10.0 printed them.
const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian 1:10.0.13+ds-0+deb13u1"}, "capabilities": ["oob"]}}';
const RESET =
  '{"timestamp": {"seconds": 1795310000, "microseconds": 1}, "event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}';

test('messages of every kind are told apart', () => {
  expect(parseQmpMessage(GREETING)).toEqual({ type: 'greeting', version: '10.0.13' });
  expect(parseQmpMessage('{"return": {}, "id": 1}')).toEqual({ type: 'return', id: 1, value: {} });
  expect(parseQmpMessage('{"id": 2, "error": {"class": "GenericError", "desc": "no"}}')).toEqual({
    type: 'error',
    id: 2,
    message: 'no',
  });
  expect(parseQmpMessage(RESET)).toEqual({
    type: 'event',
    name: 'RESET',
    data: { guest: true, reason: 'guest-reset' },
  });
  expect(parseQmpMessage('{"event": "STOP"}')).toEqual({ type: 'event', name: 'STOP', data: {} });
  expect(() => parseQmpMessage('hello')).toThrow(/unexpected: hello/);
});

/** A QEMU that answers `stop` with an error and everything else with its command's name. */
function startFake(): { socket: Duplex; far: Duplex } {
  const [socket, far] = duplexPair();
  far.write(`${GREETING}\n`);
  far.on('data', (data: Buffer) => {
    const { execute, id } = JSON.parse(data.toString()) as { execute: string; id: number };
    if (execute === 'silence') return;
    const answer = execute === 'stop' ? { error: { class: 'X', desc: 'busy' }, id } : { return: execute, id };
    far.write(`${JSON.stringify(answer)}\n`);
  });
  return { socket, far };
}

test('answers go to who asked, events to the listener', async () => {
  const { socket, far } = startFake();
  const events: QmpEvent[] = [];
  const qmp = await Qmp.connect(socket, (event) => events.push(event));
  far.write(`${RESET}\n`);
  const [first, second] = await Promise.allSettled([qmp.execute('stop'), qmp.execute('cont')]);
  expect(first).toMatchObject({ reason: { code: 'VM_FAILED', message: 'QEMU refused stop: busy' } });
  expect(second).toMatchObject({ value: 'cont' });
  expect(events.map(({ name }) => name)).toEqual(['RESET']);
});

test('commands fail when QEMU goes or talks nonsense', async () => {
  const { socket, far } = startFake();
  const qmp = await Qmp.connect(socket, () => undefined);
  const nonsense = qmp.execute('silence');
  far.write('nonsense\n');
  await expect(nonsense).rejects.toMatchObject({ code: 'VM_FAILED' });
  const gone = qmp.execute('silence');
  socket.destroy();
  await expect(gone).rejects.toMatchObject({ code: 'VM_FAILED', message: 'QEMU has ended' });
  await expect(qmp.execute('cont')).rejects.toMatchObject({ code: 'VM_FAILED' });
});
