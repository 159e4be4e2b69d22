import { describe, expect, it } from 'vitest';

import { IngotError } from '../../errors.ts';
import { mergeDatabases, type DpkgDatabase } from './database.ts';

function stanza(name: string, version: string, extra: readonly string[] = []): string {
  const status = extra.find((line) => line.startsWith('Status:')) ?? 'Status: install ok installed';
  const rest = extra.filter((line) => !line.startsWith('Status:'));
  return [`Package: ${name}`, status, 'Architecture: amd64', `Version: ${version}`, ...rest].join('\n') + '\n';
}

function database(layer: string, stanzas: readonly string[], other: Partial<DpkgDatabase> = {}): DpkgDatabase {
  return { layer, status: stanzas.join('\n'), diversions: '', statoverride: '', triggers: new Map(), ...other };
}

const base = database('base', [stanza('bash', '5'), stanza('libc-bin', '2')]);
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof IngotError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
};

describe('mergeDatabases', () => {
  it('takes each layer’s own packages and keeps the base’s', () => {
    const kernel = database('kernel', [
      stanza('bash', '5'),
      stanza('libc-bin', '2'),
      stanza('linux', '6', ['Status: install ok unpacked']),
    ]);
    const ssh = database('ssh', [
      stanza('bash', '5'),
      stanza('libc-bin', '2'),
      stanza('openssh', '10', ['Status: install ok unpacked']),
    ]);
    const merged = mergeDatabases(base, [kernel, ssh]);
    expect(merged.status.match(/^Package: .*$/gm)).toEqual([
      'Package: bash',
      'Package: libc-bin',
      'Package: linux',
      'Package: openssh',
    ]);
    expect(merged.status).toContain('Package: linux\nStatus: install ok unpacked\n');
  });

  it('does not depend on the order of layers', () => {
    const one = database('one', [stanza('bash', '5'), stanza('libc-bin', '2'), stanza('a', '1')]);
    const two = database('two', [stanza('bash', '5'), stanza('libc-bin', '2'), stanza('b', '1')]);
    expect(mergeDatabases(base, [one, two]).status).toBe(mergeDatabases(base, [two, one]).status);
  });

  it('unites pending triggers of a base package', () => {
    const pending = (trigger: string): string =>
      stanza('libc-bin', '2', ['Status: install ok triggers-pending', `Triggers-Pending: ${trigger}`]);
    const merged = mergeDatabases(base, [
      database('one', [stanza('bash', '5'), pending('ldconfig')]),
      database('two', [stanza('bash', '5'), pending('/usr/lib')]),
    ]);
    expect(merged.status).toContain('Status: install ok triggers-pending');
    expect(merged.status).toContain('Triggers-Pending: /usr/lib ldconfig\n');
  });

  it('refuses a layer that changes or removes a base package, naming it', () => {
    expect(
      codeOf(() => mergeDatabases(base, [database('x', [stanza('bash', '6'), stanza('libc-bin', '2')])])),
    ).toBe('LAYER_CONFLICT: layer x changes bash:amd64 of the base from 5 to 6');
    expect(codeOf(() => mergeDatabases(base, [database('x', [stanza('bash', '5')])]))).toBe(
      'LAYER_CONFLICT: layer x removes libc-bin:amd64, which is in the base',
    );
  });

  it('refuses two versions of one package, naming both layers', () => {
    const layer = (name: string, version: string): DpkgDatabase =>
      database(name, [stanza('bash', '5'), stanza('libc-bin', '2'), stanza('cuda', version)]);
    expect(codeOf(() => mergeDatabases(base, [layer('one', '12'), layer('two', '13')]))).toBe(
      'LAYER_CONFLICT: cuda:amd64 is 12 in layer one and 13 in layer two',
    );
  });

  it('unites diversions, and refuses one path diverted twice', () => {
    const one = database('one', [], { diversions: '/bin/sh\n/bin/sh.distrib\ndash\n' });
    const two = database('two', [], { diversions: '/bin/sh\n/bin/sh.other\nbash\n' });
    expect(mergeDatabases(base, [one, one]).diversions).toBe('/bin/sh\n/bin/sh.distrib\ndash\n');
    expect(codeOf(() => mergeDatabases(base, [one, two]))).toContain('divert /bin/sh to different places');
  });

  it('unites stat overrides, and refuses different ones for a path', () => {
    const one = database('one', [], { statoverride: 'root ssh 4755 /usr/bin/x\n' });
    const two = database('two', [], { statoverride: 'root root 0755 /usr/bin/x\n' });
    expect(mergeDatabases(base, [one, one]).statoverride).toBe('root ssh 4755 /usr/bin/x\n');
    expect(codeOf(() => mergeDatabases(base, [one, two]))).toContain('LAYER_CONFLICT');
  });

  it('unites triggers by file, and the waiting ones by trigger', () => {
    const triggers = (file: string, waiting: string): DpkgDatabase =>
      database('x', [], {
        triggers: new Map([
          ['File', file],
          ['Unincorp', waiting],
        ]),
      });
    const merged = mergeDatabases(base, [
      triggers('/usr/lib/a one\n', 'ldconfig one\n'),
      triggers('/usr/lib/a one\n/usr/lib/b two\n', 'ldconfig two\ninit x\n'),
    ]);
    expect(merged.triggers.get('File')).toBe('/usr/lib/a one\n/usr/lib/b two\n');
    expect(merged.triggers.get('Unincorp')).toBe('init x\nldconfig one two\n');
  });
});
