/** Updates of a node in a virtual machine to images that do not come up. */
import { expect } from 'vitest';

import { ingotJson } from './cli.ts';
import type { NextImage } from './next-image.ts';
import type { TestRegistry } from './registry.ts';
import { GUEST_HOST, type VmImages, type VmNode, WELL } from './vm-node.ts';

export const unit = (...lines: readonly string[]): string => `${lines.join('\n')}\n`;

/** Files of the image that the node begins with: an update has one try, so it takes two starts to be back. */
export const GOOD_IMAGE = {
  ...WELL,
  'usr/lib/ingot/update.json': JSON.stringify({ source: 'registry.example.com/node:none', tries: 1 }),
};

/** Files of one in which nothing but a loop gets the processor. */
export const HANG = {
  'usr/lib/systemd/system/hang.service': unit(
    '[Unit]',
    'After=basic.target',
    '[Service]',
    'ExecStart=/bin/sh /usr/lib/hang',
  ),
  // Without the kernel's fair server, which leaves other processes a twentieth.
  'usr/lib/hang': [
    '#!/bin/sh',
    'echo -1 >/proc/sys/kernel/sched_rt_runtime_us',
    'echo 0 >/sys/kernel/debug/sched/fair_server/cpu0/runtime',
    "exec chrt --fifo 99 sh -c 'while :; do :; done'",
    '',
  ].join('\n'),
  'usr/lib/systemd/system/multi-user.target.d/50-hang.conf': unit('[Unit]', 'Wants=hang.service'),
  'usr/lib/systemd/system.conf.d/60-short.conf': unit('[Manager]', 'RuntimeWatchdogSec=60s'),
};

export interface FailingUpdate {
  readonly images: VmImages;
  readonly registry: TestRegistry;
  readonly image: NextImage & { readonly name: string };
  /** What the node says of it. */
  readonly reason: RegExp;
  /** How long it may take until a boot is up. */
  readonly upMs?: number;
}

/** Updates the node to an image that is not good, and waits until it is back in the one before. */
export async function failAndGoBack(
  node: VmNode,
  { images, registry, image: { name, digest }, reason, upMs }: FailingUpdate,
): Promise<void> {
  const { host } = registry;
  const before = await node.status();
  await ingotJson(['push', `oci:${images.layout}:${name}`, `${host}/node:${name}`, '--insecure', host]);
  const guest = `${GUEST_HOST}:${host.split(':')[1] ?? ''}`;
  await node.ingotJson(`node switch ${guest}/node:${name} --insecure ${guest}`);
  expect(await node.restart(upMs)).toBe(2);
  const status = await node.status();
  expect(status).toMatchObject({ booted: { version: before.booted.version }, boot: { blessed: true } });
  expect(status.updates[0]).toMatchObject({ version: name, digest, outcome: 'settled' });
  expect(status.updates[0]?.reason).toMatch(reason);
  expect(status.rollback).toBeUndefined();
}
