import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { copyFile, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { PRODUCT_ROOT } from '../../../test/support/cli.ts';
import { runInProcess } from '../../../test/support/in-process.ts';
import { run } from '../../proc/run.ts';

const TRACKER = join(PRODUCT_ROOT, 'test/support/advisories/tracker.json');
const LOCK = readFileSync(join(PRODUCT_ROOT, 'images/debian-minimal.lock.yaml'), 'utf8');
/** Moves with the mirror, each time that the image is locked anew. */
const GLIBC = /name: libc6, version: ([^,]+),/.exec(LOCK)?.[1] ?? 'none';

let folder: string;
let server: Server;
let address: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot audit-'));
  await writeFile(join(folder, 'old.lock.yaml'), LOCK);
  await writeFile(join(folder, 'new.lock.yaml'), LOCK.replaceAll('5.2.37-2+b10', '5.2.37-2+deb13u1'));
  const files: Record<string, string | Buffer> = {
    '/tracker.json': await readFile(TRACKER),
  };
  server = createServer((request, response) => {
    const body = files[request.url ?? ''];
    response.writeHead(body === undefined ? 404 : 200, { 'last-modified': 'Thu, 19 Nov 2026 10:00:00 GMT' });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

interface Answer {
  readonly exitCode: number;
  readonly release: string;
  readonly data: { readonly format: string; readonly from: string };
  readonly undetermined: number;
  readonly gaps: readonly string[];
  readonly findings: readonly {
    readonly id: string;
    readonly source: string;
    readonly version: string;
    readonly packages: readonly string[];
    readonly urgency: string;
    readonly fixed?: string;
    readonly fixedInSid?: string;
    readonly next?: string;
  }[];
  readonly added?: readonly { readonly id: string }[];
}

async function audit(...args: string[]): Promise<Answer> {
  const store = join(folder, 'store');
  const { exitCode, stdout } = await runInProcess(folder, ['--store', store, 'audit', ...args, '--json'], {
    onStderr: () => undefined,
  });
  return { ...(JSON.parse(stdout) as Answer), exitCode };
}

const idsOf = ({ findings }: Answer): string[] => findings.map(({ id }) => id);

describe('what the tracker says of a lock', () => {
  it('is told by source package, the most urgent first, with what mends it', async () => {
    const answer = await audit('old.lock.yaml', '--data', TRACKER);
    expect(answer.findings).toMatchObject([
      {
        id: 'CVE-2099-0001',
        source: 'bash',
        version: '5.2.37-2',
        fixed: '5.2.37-2+deb13u1',
        urgency: 'medium',
      },
      { id: 'CVE-2099-0006', source: 'linux', version: '6.12.117-1', fixedInSid: '6.17.9-1' },
      {
        id: 'CVE-2099-0007',
        source: 'util-linux',
        postponed: 'postponed',
        urgency: 'low',
        fixedInSid: '2.42-1',
      },
      { id: 'CVE-2099-0004', source: 'glibc', urgency: 'unimportant' },
    ]);
    expect(answer.findings[0]?.packages).toEqual(['bash']);
    expect(answer.findings[2]?.packages).toContain('bsdutils'); // whose own version has an epoch
    expect(answer).toMatchObject({
      release: 'trixie',
      undetermined: 1,
      exitCode: 0,
      data: { format: 'tracker' },
    });
    expect(answer.gaps).toEqual([expect.stringContaining('taken from their binary packages')]);
  });

  it('is asked of the next lock too', async () => {
    const answer = await audit('old.lock.yaml', '--data', TRACKER, '--against', 'new.lock.yaml');
    expect(answer.findings.map(({ next }) => next)).toEqual(['fixed', 'open', 'open', 'open']);
    expect(answer.added).toEqual([]);
    const back = await audit('new.lock.yaml', '--data', TRACKER, '--against', 'old.lock.yaml');
    expect(back.added).toMatchObject([{ id: 'CVE-2099-0001' }]);
  });

  it.each([
    ['high', 0],
    ['medium', 1],
    ['low', 1],
    ['any', 1],
  ])('fails on %s with %i', async (urgency, exitCode) => {
    expect((await audit('old.lock.yaml', '--data', TRACKER, '--fail-on', urgency)).exitCode).toBe(exitCode);
  });

  it('may be asked for what can be mended alone', async () => {
    const answer = await audit('old.lock.yaml', '--data', TRACKER, '--mendable');
    expect(idsOf(answer)).toEqual(['CVE-2099-0001']);
    const fixed = await audit('new.lock.yaml', '--data', TRACKER, '--mendable', '--fail-on', 'any');
    expect([idsOf(fixed), fixed.exitCode]).toEqual([[], 0]);
  });

  it('is the same gzipped, and fetched, with the time that the server gives', async () => {
    const packed = join(folder, 'tracker.json.gz');
    await writeFile(packed, gzipSync(await readFile(TRACKER)));
    const plain = await audit('old.lock.yaml', '--data', TRACKER);
    expect((await audit('old.lock.yaml', '--data', packed)).findings).toEqual(plain.findings);
    const fetched = await audit('old.lock.yaml', '--data', `${address}/tracker.json`);
    expect(fetched.findings).toEqual(plain.findings);
    expect(fetched.data.from).toBe('2026-11-19T10:00:00.000Z');
  });

  it('says how old it is', async () => {
    const old = join(folder, 'old.json');
    await copyFile(TRACKER, old);
    await utimes(old, new Date('2020-01-01'), new Date('2020-01-01'));
    let said = '';
    await runInProcess(folder, ['--store', join(folder, 'store'), 'audit', 'old.lock.yaml', '--data', old], {
      onStderr: (text) => {
        said += text;
      },
    });
    expect(said).toMatch(/old\.json is \d+ days old/);
  });
});

describe('what OSV says', () => {
  const affected = (name: string, events: object[], ecosystem = 'Debian:13', more: object = {}): object => ({
    package: { ecosystem, name },
    ranges: [{ type: 'ECOSYSTEM', events }],
    ...more,
  });
  const urgent = { ecosystem_specific: { urgency: 'high' } };
  const fixed = [{ introduced: '0' }, { fixed: '5.2.37-2+deb13u1' }];
  const records = [
    {
      id: 'DEBIAN-CVE-2099-1001',
      modified: '2026-11-20T00:00:00Z',
      affected: [affected('bash', fixed, 'Debian:13', urgent)],
    },
    { id: 'DSA-9999-1', upstream: ['CVE-2099-1001'], affected: [affected('bash', fixed)] },
    { id: 'DEBIAN-CVE-2099-1002', affected: [affected('bash', [{ introduced: '0' }, { fixed: '5.1-1' }])] },
    { id: 'DEBIAN-CVE-2099-1003', affected: [affected('bash', [{ introduced: '0' }], 'Debian:12')] },
    {
      id: 'DEBIAN-CVE-2099-1004',
      affected: [affected('glibc', [{ introduced: '2.41' }, { last_affected: '2.42' }])],
    },
    {
      id: 'DEBIAN-CVE-2099-1005',
      withdrawn: '2026-01-01T00:00:00Z',
      affected: [affected('bash', [{ introduced: '0' }])],
    },
    { id: 'DEBIAN-CVE-2099-1006', affected: [{ ...affected('glibc', []), versions: [GLIBC] }] },
    { id: 'DEBIAN-CVE-2099-1007', affected: [affected('glibc', [{ introduced: '2.42' }])] },
  ];
  const expected = ['CVE-2099-1001', 'CVE-2099-1004', 'CVE-2099-1006'];

  it.each(['folder', 'zip', 'lines'])('is read from a %s', async (form) => {
    const directory = join(folder, `osv-${form}`);
    await mkdir(directory);
    for (const record of records) {
      await writeFile(join(directory, `${record.id}.json`), JSON.stringify(record, null, 2));
    }
    let data = directory;
    if (form === 'zip') {
      data = `${directory}.zip`;
      await run(['zip', '-q', '-r', data, '.'], { cwd: directory });
    } else if (form === 'lines') {
      data = `${directory}.jsonl`;
      await writeFile(data, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    }
    const answer = await audit('old.lock.yaml', '--data', data);
    expect(idsOf(answer)).toEqual(expected);
    expect(answer.findings[0]).toMatchObject({ urgency: 'high', fixed: '5.2.37-2+deb13u1' });
    expect(answer.data).toMatchObject({ format: 'osv', from: '2026-11-20T00:00:00Z' });
  });

  it('is refused for unstable, of which it has nothing', async () => {
    const sid = (await readFile(join(folder, 'old.lock.yaml'), 'utf8')).replace(
      'release: "13", suite: trixie',
      'release: sid, suite: sid',
    );
    await writeFile(join(folder, 'sid.lock.yaml'), sid);
    const one = join(folder, 'one.json');
    await writeFile(one, JSON.stringify(records[0], null, 1));
    await expect(audit('sid.lock.yaml', '--data', one)).rejects.toMatchObject({
      code: 'ADVISORIES_UNREADABLE',
      message: expect.stringContaining('sid') as string,
    });
  });
});

describe('data that cannot be used', () => {
  it.each([
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['a list', '[]'],
    ['an empty object', '{}'],
    ['a part of it', '{"bash": {"CVE-1": {"releases": {}}'],
    ['another format', '{"bash": {"CVE-1": 4}}'],
    ['nothing of this release', '{"bash": {"CVE-1": {"releases": {"buster": {"status": "open"}}}}}'],
    ['a record that is none', '{"id": 4}'],
    ['an archive that is none', 'PK\u0003\u0004'],
  ])('is told of: %s', async (_what, text) => {
    const file = join(folder, 'bad.json');
    await writeFile(file, text);
    await expect(audit('old.lock.yaml', '--data', file)).rejects.toMatchObject({
      code: 'ADVISORIES_UNREADABLE',
    });
  });

  it.each(['gone.json', 'http://127.0.0.1:1/data', 'SERVER/none'])('is told of: %s', async (data) => {
    const where = data.replace('SERVER', address);
    await expect(audit('old.lock.yaml', '--data', where)).rejects.toMatchObject({
      code: 'ADVISORIES_UNREADABLE',
    });
  });

  it('and an image of another distribution is none of its matters', async () => {
    const other = (await readFile(join(folder, 'old.lock.yaml'), 'utf8')).replace(
      'name: debian, release',
      'name: fedora, release',
    );
    await writeFile(join(folder, 'fedora.lock.yaml'), other);
    await expect(audit('fedora.lock.yaml', '--data', TRACKER)).rejects.toMatchObject({ code: 'USAGE' });
  });
});
