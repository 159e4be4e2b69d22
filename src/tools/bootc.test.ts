/** bootc's own recorded statuses, and its published schema: `test/fixtures/bootc/README.md`. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import {
  bootcSwitchArgv,
  bootcUpgradeArgv,
  parseBootcAbilities,
  parseBootcLayerBranches,
  parseBootcStatus,
} from './bootc.ts';

const FIXTURES = resolve(import.meta.dirname, '../../test/fixtures/bootc');
const NAMES = readdirSync(FIXTURES).filter((name) => name.startsWith('spec-'));

/** As `bootc status --format=json` prints it. */
function statusOf(name: string): string {
  const text = readFileSync(join(FIXTURES, name), 'utf8');
  const ostreeRemote = { tag: '!ostreeRemote', resolve: (value: string) => ({ ostreeRemote: value }) };
  // serde takes any plain scalar for the text that a version is.
  const asText = (key: unknown, value: unknown): unknown =>
    key === 'version' && typeof value === 'number' ? String(value) : value;
  return JSON.stringify(parse(text, asText, { customTags: [ostreeRemote] }));
}

const schema = JSON.parse(readFileSync(join(FIXTURES, 'host-v1.schema.json'), 'utf8')) as object;
const ajv = new Ajv2020({ strict: false, allErrors: true });
formats.default(ajv, ['date-time']);
ajv.addFormat('uint32', { type: 'number', validate: (value) => Number.isInteger(value) && value < 2 ** 32 });
const isHost = ajv.compile(schema);

test('there are recorded statuses', () => {
  expect(NAMES.length).toBeGreaterThanOrEqual(14);
});

test.each(NAMES)('%s is what the schema says, and is read', (name) => {
  const text = statusOf(name);
  expect(isHost(JSON.parse(text)), JSON.stringify(isHost.errors)).toBe(true);
  expect(parseBootcStatus(text).kind).toBe('BootcHost');
});

test('what the schema lets be left out or be null may be both', () => {
  const entry = { incompatible: false, pinned: false };
  for (const booted of [entry, { ...entry, image: null, ostree: null, composefs: null, store: null }]) {
    const host = { apiVersion: 'org.containers.bootc/v1', kind: 'BootcHost', spec: {}, status: { booted } };
    expect(isHost(host), JSON.stringify(isHost.errors)).toBe(true);
    const read = parseBootcStatus(JSON.stringify(host));
    expect(read.status.booted?.image).toBeUndefined();
    expect(read.status.staged).toBeUndefined();
  }
});

test('what is downloaded, staged, overlaid and queued is told apart', () => {
  const { status } = parseBootcStatus(statusOf('spec-staged-download-only.yaml'));
  expect(status.staged).toMatchObject({
    downloadOnly: true,
    image: { imageDigest: expect.stringMatching(/^sha256:16dc/) as string, version: 'nightly' },
    ostree: { deploySerial: 0, stateroot: 'default' },
  });
  expect(parseBootcStatus(statusOf('spec-staged-booted.yaml')).status.staged?.downloadOnly).toBe(false);
  expect(parseBootcStatus(statusOf('spec-booted-usroverlay.yaml')).status.usrOverlay).toEqual({
    accessMode: 'readWrite',
    persistence: 'transient',
  });
  expect(parseBootcStatus(statusOf('spec-v1-null.json')).status.booted).toBeUndefined();
});

describe('what is no status is said', () => {
  test.each([
    ['nothing', ''],
    ['something else', '[]'],
    ['another kind', '{"apiVersion":"org.containers.bootc/v1","kind":"Pod","spec":{},"status":{}}'],
    [
      'a version to come',
      '{"apiVersion":"org.containers.bootc/v2","kind":"BootcHost","spec":{},"status":{}}',
    ],
  ])('%s', (_what, text) => {
    expect(() => parseBootcStatus(text)).toThrow(expect.objectContaining({ code: 'NODE_FAILED' }) as Error);
  });
});

/** Printed by bootc 1.16 (docs/src/man/bootc-upgrade.8.md has the same options) and, shortened, by 1.1. */
const HELP_116 = `Usage: bootc upgrade [OPTIONS]

Options:
      --quiet
          Don't display progress
      --check
          Check if an update is available without applying it
      --apply
          Restart or reboot into the new target image
      --download-only
          Download and stage the update without applying it
      --from-downloaded
          Apply a staged deployment that was previously downloaded with --download-only
      --tag <TAG>
          Upgrade to a different tag of the currently booted image
`;
const HELP_11 = `Usage: bootc upgrade [OPTIONS]

Options:
      --quiet  Don't display progress
      --check  Check if an update is available without applying it
      --apply  Restart or reboot into the new target image
`;

test('an older bootc can do less', () => {
  expect(parseBootcAbilities(HELP_116)).toEqual({ downloadOnly: true, tag: true });
  expect(parseBootcAbilities(HELP_11)).toEqual({ downloadOnly: false, tag: false });
});

test('argument vectors', () => {
  expect(bootcUpgradeArgv({ isDownloadOnly: true, tag: 'v2' })).toEqual([
    ...['bootc', 'upgrade', '--quiet', '--download-only', '--tag=v2'],
  ]);
  expect(bootcSwitchArgv({ image: '-x', transport: 'oci' }, true)).toEqual([
    ...['bootc', 'switch', '--quiet', '--transport=oci', '--enforce-container-sigpolicy', '--', '-x'],
  ]);
});

test('layers are found under the names that bootc gives them', () => {
  const [one, other] = ['a'.repeat(64), 'b'.repeat(64)];
  const listed = `sha256_3A_${one}\nostree/container/blob/sha256_3A_${other}\nsomething/else\n`;
  expect([...parseBootcLayerBranches(listed)]).toEqual([`sha256:${one}`, `sha256:${other}`]);
});
