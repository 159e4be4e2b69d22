/** A host whose bootc answers what real hosts answered: `test/fixtures/bootc`. Programs alone are played. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import type { Digest } from '../digest.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { OstreeTools } from '../ostree/disk-tools.ts';
import { objectPath, renderCommit } from '../ostree/tree/tree-objects.ts';
import { type Argv, quoteArgv, type RunResult } from '../proc/run.ts';
import type { Stage } from '../report/events.ts';
import { parseBootcStatus } from '../tools/bootc.ts';
import { BootcEngine, isBootcHost } from './bootc-engine.ts';
import type { OfferedImage } from './engine.ts';
import { rollBack, setPinned } from './rollback.ts';
import type { Journal } from './journal.ts';

const FIXTURES = resolve(import.meta.dirname, '../../test/fixtures/bootc');
const RUNNING = 'sha256:736b359467c9437c1ac915acaae952aad854e07eb4a16a94999a48af08c83c34' as Digest;
const NEXT = 'sha256:16dc2b6256b4ff0d2ec18d2dbfb06d117904010c8cf9732cdb022818cf7a7566' as Digest;
const STAGED_ID = '3c6dad657109522e0b2e49bf44b5420f16f0b438b5b9357e5132211cfbad135d.0';
const BOOTED_ID = '26836632adf6228d64ef07a26fd3efaf177104efd1f341a2cf7909a3e4e2c72c.0';
/** Of a deployment that a test adds. */
const ADDED = 'c'.repeat(64);
const HELP = '  --download-only\n  --from-downloaded\n  --tag <TAG>\n';

/** Runs nothing: gives the answers, and changes the host's status where the program would have. */
class PlayedHost implements OstreeTools {
  readonly signal = undefined;
  readonly ran: string[] = [];
  status: unknown;
  help = HELP;
  /** Status after a command that begins so. */
  readonly after = new Map<string, string>();
  branches = '';

  constructor(fixture: string) {
    this.status = statusOf(fixture);
  }

  run(argv: Argv): Promise<RunResult> {
    const line = quoteArgv(argv);
    if (line.startsWith('bootc status')) return answer(JSON.stringify(this.status));
    if (line === 'bootc upgrade --help') return answer(this.help);
    if (line.startsWith('ostree refs')) return answer(this.branches);
    if (line === 'ostree admin status') return answer(this.#ostreeStatus());
    this.ran.push(line);
    for (const [begin, fixture] of this.after) if (line.startsWith(begin)) this.status = statusOf(fixture);
    return answer('');
  }

  /** As `ostree admin status` shows the same host. */
  #ostreeStatus(): string {
    const { status } = parseBootcStatus(JSON.stringify(this.status));
    return [status.staged, status.booted, status.rollback]
      .flatMap((entry) => (entry?.ostree === undefined ? [] : [{ entry, ostree: entry.ostree }]))
      .map(({ entry, ostree }) => {
        const mark = entry === status.booted ? '*' : ' ';
        return `${mark} ${ostree.stateroot} ${ostree.checksum}.${ostree.deploySerial}\n`;
      })
      .join('');
  }
}

function answer(stdout: string): Promise<RunResult> {
  return Promise.resolve({ stdout, stderr: '', exitCode: 0, seconds: 0 });
}

function statusOf(fixture: string): unknown {
  return parse(readFileSync(resolve(FIXTURES, `spec-${fixture}.yaml`), 'utf8'));
}

const layer = (letter: string, size: number) => ({
  mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
  digest: `sha256:${letter.repeat(64)}` as Digest,
  size,
});

function offer(reference = 'quay.io/example/someimage:latest', digest = NEXT): OfferedImage {
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 1 };
  return {
    reference,
    digest,
    root: `sha256:${'f'.repeat(64)}` as Digest,
    version: 'nightly',
    manifest: { schemaVersion: 2, config, layers: [layer('a', 10), layer('b', 20)] },
    config: { os: 'linux', architecture: 'arm64', rootfs: { type: 'layers', diff_ids: [] } },
  };
}

const source = {} as ImageSource;
const warn = (message: string): never => {
  throw new Error(message);
};
const stage: Stage = {
  id: 'x',
  progress: () => undefined,
  cached: () => undefined,
  detail: () => undefined,
};

const sysroot = mkdtempSync(join(tmpdir(), 'ingot-bootc-'));
afterAll(() => {
  rmSync(sysroot, { recursive: true });
});

/** Commits that say nothing of an image, of every host that was recorded. */
beforeAll(() => {
  const nothing = Buffer.alloc(32);
  const commit = renderCommit({
    ...{ tree: nothing, meta: nothing, subject: '', timestamp: 0, kernel: 'none' },
    ...{ texts: {}, refs: [] },
  });
  const recorded = readdirSync(FIXTURES).flatMap((name) => {
    const text = readFileSync(join(FIXTURES, name), 'utf8');
    return [...text.matchAll(/checksum: "?([0-9a-f]{64})/g)].map(([, checksum = '']) => checksum);
  });
  for (const checksum of [...recorded, ADDED]) {
    const path = join(sysroot, 'ostree/repo/objects', objectPath(Buffer.from(checksum, 'hex'), 'commit'));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, commit);
  }
});

let host: PlayedHost;
let engine: BootcEngine;
function on(fixture: string): void {
  host = new PlayedHost(fixture);
  engine = new BootcEngine({ tools: host, sysroot });
}
beforeEach(() => {
  on('booted-usroverlay');
});

test.each([
  ['only-booted', true],
  ['booted-pinned', true],
  ['staged-rollback', false],
  ['ostree-to-bootc', false],
  ['rfe-ostree-deployment', false],
])('a host as in %s is bootc’s: %s', (fixture, expected) => {
  expect(isBootcHost(parseBootcStatus(JSON.stringify(statusOf(fixture))))).toBe(expected);
});

describe('deployments', () => {
  test('are in the order in which they start', async () => {
    on('staged-booted');
    expect(await engine.deployments()).toMatchObject([
      { index: 0, id: STAGED_ID, isStaged: true, isBooted: false, digest: NEXT, version: 'nightly' },
      {
        ...{ index: 1, id: BOOTED_ID, isStaged: false, isBooted: true, digest: RUNNING },
        ...{ reference: 'quay.io/example/someimage:latest', created: 1_696_101_736 },
        facts: { architecture: 'arm64' },
      },
    ]);
  });

  test('that are only downloaded have no place among them', async () => {
    on('staged-download-only');
    expect((await engine.deployments()).map(({ id }) => id)).toEqual([BOOTED_ID]);
    expect(await engine.isFetched(offer())).toBe(true);
    expect(await engine.isFetched(offer(undefined, RUNNING))).toBe(false);
  });

  test('are pinned, overlaid, and of folders', async () => {
    on('booted-pinned');
    expect((await engine.deployments()).map(({ isPinned }) => isPinned)).toEqual([true, true]);
    on('booted-usroverlay');
    expect((await engine.deployments()).map(({ isUnlocked }) => isUnlocked)).toEqual([true]);
    on('via-local-oci');
    expect((await engine.deployments())[0]?.reference).toBe('oci:/var/mnt/osupdate');
  });

  test('go back the other way once a rollback is queued', async () => {
    const { status, ...rest } = statusOf('staged-booted') as { status: Record<string, unknown> };
    host.status = {
      ...rest,
      status: { ...status, staged: null, rollback: status['staged'], rollbackQueued: true },
    };
    expect(await engine.deployments()).toMatchObject([
      { id: STAGED_ID, isBooted: false, isRollback: false },
      { id: BOOTED_ID, isBooted: true, isRollback: true },
    ]);
  });
});

test('only layers that bootc does not have are to be pulled', async () => {
  host.branches = `ostree/container/blob/sha256_3A_${'a'.repeat(64)}\n`;
  expect(await engine.planFetch(offer())).toMatchObject({ bytes: 20, missing: [{ size: 20 }] });
});

describe('an update', () => {
  test('is downloaded, held against what was judged, and then let go', async () => {
    host.after.set('bootc upgrade --quiet --download-only', 'staged-download-only');
    host.after.set('bootc upgrade --quiet --from-downloaded', 'staged-booted');
    await engine.requireDownload(offer());
    await engine.fetch(offer(), source, { stage, warn });
    expect((await engine.stage(offer(), { isSignatureWanted: false })).id).toBe(STAGED_ID);
    expect(host.ran).toEqual([
      'bootc upgrade --quiet --download-only',
      'bootc upgrade --quiet --from-downloaded',
    ]);
  });

  test('whose name has moved meanwhile is dropped before it can start', async () => {
    host.after.set('bootc upgrade --quiet --download-only', 'staged-download-only');
    const judged = offer(undefined, `sha256:${'9'.repeat(64)}` as Digest);
    await expect(engine.fetch(judged, source, { stage, warn })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(host.ran.at(-1)).toBe('ostree admin undeploy 0');
  });

  test('to another tag of the repository is one too', async () => {
    host.after.set('bootc upgrade', 'staged-download-only');
    await engine.fetch(offer('quay.io/example/someimage:beta'), source, { stage, warn });
    expect(host.ran).toEqual(['bootc upgrade --quiet --download-only --tag=beta']);
  });

  test('from elsewhere is pulled as it is staged, and checked by bootc too', async () => {
    host.after.set('bootc switch', 'staged-booted');
    const elsewhere = offer('registry.example.com/ai/node:stable');
    await expect(engine.requireDownload(elsewhere)).rejects.toMatchObject({ code: 'NODE_UNSUITED' });
    await engine.fetch(elsewhere, source, { stage, warn });
    await engine.stage(elsewhere, { isSignatureWanted: true });
    expect(host.ran).toEqual([
      'bootc switch --quiet --transport=registry --enforce-container-sigpolicy -- registry.example.com/ai/node:stable',
    ]);
  });

  test('by an older bootc too; of a folder', async () => {
    host.help = '  --check\n  --apply\n';
    host.after.set('bootc switch', 'staged-booted');
    await expect(engine.requireDownload(offer())).rejects.toMatchObject({ code: 'NODE_UNSUITED' });
    await engine.fetch(offer('oci:/var/image:1'), source, { stage, warn });
    await engine.stage(offer('oci:/var/image:1'), { isSignatureWanted: false });
    expect(host.ran).toEqual(['bootc switch --quiet --transport=oci -- /var/image:1']);
  });

  test('that bootc does not stage is a failure', async () => {
    await expect(engine.fetch(offer(), source, { stage, warn })).rejects.toMatchObject({
      code: 'NODE_FAILED',
    });
  });
});

test('what is kept is kept by ostree, and what is composefs cannot be', async () => {
  await setPinned(engine, 'booted', true);
  expect(host.ran).toEqual(['ostree admin pin 0']);
  const { status, ...rest } = statusOf('only-booted') as { status: Record<string, object> };
  const composefs = {
    verity: 'ab'.repeat(64),
    bootType: 'Bls',
    bootloader: 'grub',
    missingVerityAllowed: false,
  };
  host.status = { ...rest, status: { booted: { ...status['booted'], ostree: null, composefs } } };
  expect(await engine.deployments()).toMatchObject([{ id: 'ab'.repeat(64) }]);
  await expect(setPinned(engine, 'booted', true)).rejects.toMatchObject({ code: 'NODE_UNSUITED' });
  expect(await engine.collect()).toEqual({ images: 0, layers: 0, bytes: 0 });
});

test('going back gives up what is staged, in one command of bootc’s', async () => {
  const { status, ...rest } = statusOf('staged-booted') as { status: Record<string, object> };
  const rollback = {
    ...status['booted'],
    ostree: { stateroot: 'default', checksum: ADDED, deploySerial: 0 },
  };
  host.status = { ...rest, status: { ...status, rollback } };
  const told: string[] = [];
  const journal = {
    append: ({ event }: { readonly event: string }) => Promise.resolve(void told.push(event)),
  } as unknown as Journal;
  const { deployment, discarded } = await rollBack(engine, journal);
  expect([deployment.id, discarded?.id]).toEqual([`${'c'.repeat(64)}.0`, STAGED_ID]);
  expect(host.ran).toEqual(['bootc rollback']);
  expect(told).toEqual(['discarded', 'rollback']);
});

test('/usr is opened by bootc', async () => {
  await engine.unlockUsr();
  expect(host.ran).toEqual(['bootc usr-overlay']);
});
