import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { startCompanion, type Companion } from '../../proc/companion.ts';
import { channelCredentials, GUEST_LOOP, GuestChannel, parseChannelMessage } from './channel.ts';

let guest: Companion;
let channel: GuestChannel;

// The loop is the guest's own, run by this machine's shell over a socket instead of a virtio port.
beforeEach(async () => {
  guest = await startCompanion(['env', 'TMPDIR=/tmp', 'sh', '-c', GUEST_LOOP], { channels: 1, label: 'sh' });
  const [socket] = guest.channels;
  if (socket === undefined) throw new Error('one channel');
  channel = new GuestChannel(socket);
  await channel.waitForBoot();
});

afterEach(async () => {
  await guest[Symbol.asyncDispose]();
});

test('a command gives its exit code and both outputs', async () => {
  const result = await channel.run('echo "out ü"; printf "two\\nlines" >&2; exit 3', 10);
  expect(result).toEqual({ exitCode: 3, stdout: 'out ü\n', stderr: 'two\nlines', timedOut: false });
});

test('a command that ends the shell, reads input or prints nothing leaves the channel usable', async () => {
  expect(await channel.run('cat; kill -9 $$', 10)).toMatchObject({ exitCode: 137, timedOut: false });
  expect(await channel.run('true', 10)).toEqual({ exitCode: 0, stdout: '', stderr: '', timedOut: false });
});

test('a command that takes too long is ended', async () => {
  expect(await channel.run('echo begun; sleep 1000', 1)).toMatchObject({ stdout: 'begun\n', timedOut: true });
  expect((await channel.run('exit 124', 10)).timedOut).toBe(false);
});

test('large output passes whole', async () => {
  const { stdout } = await channel.run('head -c 2000000 /dev/zero | tr "\\0" x', 30);
  expect(stdout).toBe('x'.repeat(2_000_000));
});

test('commands asked for at once are answered in order', async () => {
  const results = await Promise.all([1, 2, 3].map((number) => channel.run(`echo ${number}`, 10)));
  expect(results.map(({ stdout }) => stdout)).toEqual(['1\n', '2\n', '3\n']);
});

test('waiting for another boot ignores the one that answers now', async () => {
  const other = channel.waitForBoot(channel.bootId);
  expect(await Promise.race([other, channel.run('true', 10).then(() => 'still waiting')])).toBe(
    'still waiting',
  );
});

test('a restart of user space alone is a boot of its own', () => {
  const id = '0b1f2e3d-4c5b-4a69-8877-665544332211';
  const bootId = (line: string): unknown => parseChannelMessage(line);
  expect(bootId(`ready ${id} 0`)).toEqual({ type: 'ready', bootId: id });
  // systemd before 256 counts none.
  expect(bootId(`ready ${id} `)).toEqual({ type: 'ready', bootId: id });
  expect(bootId(`done 1 0ready ${id} 2`)).toEqual({ type: 'ready', bootId: `${id}+2` });
  expect(bootId(`ready ${id} x`)).toBeUndefined();
});

test('lines that are not of the protocol are passed over', () => {
  fc.assert(
    fc.property(fc.string(), (line) => {
      fc.pre(!line.startsWith('ready ') && !line.startsWith('done '));
      expect(parseChannelMessage(line)).toBeUndefined();
    }),
  );
  expect(parseChannelMessage('done 1 0 x')).toBeUndefined();
});

test('the credentials make the unit start in the system and not in the initramfs', () => {
  const credentials = channelCredentials();
  const unit = credentials['systemd.extra-unit.ingot-test.service'];
  expect(unit).toContain('ConditionPathExists=!/etc/initrd-release');
  expect(unit).toContain('BindsTo=dev-virtio\\x2dports-dev.ingot.test.device');
  expect(credentials['systemd.unit-dropin.basic.target~ingot-test']).toContain('Wants=ingot-test.service');
  expect(credentials['systemd.unit-dropin.dev-virtio\\x2dports-dev.ingot.test.device~ingot-test']).toContain(
    'JobRunningTimeoutSec=infinity',
  );
});
