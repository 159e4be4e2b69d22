import { expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { indexTargetsArgv, parseIndexTargets, type IndexTarget } from './apt.ts';
import { machineIndexTargets, parseProxies } from './machine-apt.ts';

test('proxies', () => {
  const dump = 'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::Proxy "DIRECT";\n';
  expect(parseProxies(dump)).toEqual({ http_proxy: 'http://proxy.example:3128' });
});

test('labels are those that apt itself knows', async () => {
  // With its cache of packages, which takes apt longer than all else.
  const [program, ...rest] = indexTargetsArgv();
  const { stdout } = await run([program, ...rest]);
  const known = ({ uri, release, label, component }: IndexTarget): string =>
    [uri, release, label, component].join(' ');
  const ours = (await machineIndexTargets()).map(known);
  const apts = parseIndexTargets(stdout).map(known);
  expect(ours).toEqual(expect.arrayContaining(apts));
});
