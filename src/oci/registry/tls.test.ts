/** Whom a registry's certificate is verified by. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, rootCertificates } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { makeCertificate } from '../../../test/support/registry.ts';
import { systemAuthorities } from './tls.ts';

let scratch: string;
let own: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-authorities-'));
  own = (await makeCertificate(scratch)).cert;
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

test('this machine alone, where it has authorities', async () => {
  const empty = join(scratch, 'empty');
  await writeFile(empty, '# update-ca-certificates was not run\n');
  const found = await systemAuthorities({}, [
    join(scratch, 'gone'),
    empty,
    own,
    '/etc/ssl/certs/ca-certificates.crt',
  ]);
  expect(found).toEqual([await readFile(own, 'utf8'), ...getCACertificates('extra')]);
});

test('what Node.js brings, where the machine has none', async () => {
  const found = await systemAuthorities({}, [join(scratch, 'gone')]);
  expect(found).toEqual([...rootCertificates, ...getCACertificates('extra')]);
});

test('what the environment names, as for OpenSSL', async () => {
  const found = await systemAuthorities({ SSL_CERT_FILE: own }, [own]);
  expect(found).toEqual([...getCACertificates('system'), ...getCACertificates('extra')]);
});
