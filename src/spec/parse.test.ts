import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { complaints, findingsOf, HEAD, show, SSH_KEY } from '../../test/support/complaints.ts';
import { IngotError } from '../errors.ts';
import { declarationDigest } from './normalise.ts';
import { parseSpec } from './parse.ts';

describe('a valid declaration', () => {
  it('gets every default', async () => {
    const { image, variants, warnings } = await parseSpec(HEAD, 'node.yaml');
    expect(image).toEqual({
      name: 'node',
      architecture: 'amd64',
      base: { name: 'debian', release: '13' },
      kernel: { flavour: 'generic' },
      addons: [],
      packages: [],
      groups: [],
      users: [],
      files: [],
      units: [],
      kernelArguments: [],
      health: [],
    });
    expect(variants).toEqual([]);
    expect(warnings).toEqual([]);
  });

  it('opens every short form and takes every key', async () => {
    const { image } = await parseSpec(
      `# comment
name: node
version: 1.2.3
summary: A node
arch: amd64
base: { use: debian, release: 13 }
kernel: { flavour: cloud, version: "6.12" }
addons: [ssh]
packages: [htop, jq=1.7.1-6]
hostname: node-1.example.org
groups: [{ name: ops, gid: 1500 }]
users: [{ name: ada, uid: 1501, gecos: Ada, groups: [sudo, ops], sshKeys: ["${SSH_KEY}"] }]
files: [{ path: /etc/motd, content: "hello\\n", mode: "0755", user: ada, group: ops }]
units: [{ name: chrony.service, enabled: false }, { name: a@b.timer, masked: true }]
kernelArguments: [iommu=pt]
health: [{ name: up, run: "true", timeout: 2m }]
`,
      'node.yaml',
    );
    expect(image).toEqual({
      name: 'node',
      version: '1.2.3',
      summary: 'A node',
      architecture: 'amd64',
      base: { name: 'debian', release: '13' },
      kernel: { flavour: 'cloud', version: '6.12' },
      addons: ['ssh'],
      packages: ['htop', 'jq=1.7.1-6'],
      hostname: 'node-1.example.org',
      groups: [{ name: 'ops', gid: 1500 }],
      users: [
        {
          name: 'ada',
          uid: 1501,
          gecos: 'Ada',
          shell: '/bin/bash',
          groups: ['sudo', 'ops'],
          sshKeys: [SSH_KEY],
        },
      ],
      files: [{ path: '/etc/motd', content: 'hello\n', mode: 0o755, user: 'ada', group: 'ops' }],
      units: [
        { name: 'chrony.service', enabled: false, masked: false },
        { name: 'a@b.timer', masked: true },
      ],
      kernelArguments: ['iommu=pt'],
      health: [{ name: 'up', run: 'true', timeoutSeconds: 120 }],
    });
  });

  it('reads a byte order mark, CRLF and YAML quoting alike', async () => {
    const plain = await parseSpec(HEAD, 'node.yaml');
    const odd = await parseSpec('\uFEFFname: "node"\r\nbase: \'debian@13\'\r\n', 'node.yaml');
    expect(odd.image).toEqual(plain.image);
    expect(odd.sources.at(['base'])).toEqual({ file: 'node.yaml', line: 2, column: 7 });
  });

  it('takes the default release from the catalogue when none is named', async () => {
    const { image } = await parseSpec('name: n\nbase: debian', 'n.yaml', { defaultRelease: () => '13' });
    expect(image.base).toEqual({ name: 'debian', release: '13' });
  });

  it('has a digest that depends on values, not on how they are written', async () => {
    const [short, long, other] = await Promise.all(
      [
        HEAD,
        '# same\nbase: {release: "13", use: debian}\nkernel: generic\nname: node',
        `${HEAD}kernel: cloud`,
      ].map(async (text) => declarationDigest((await parseSpec(text, 'x.yaml')).image)),
    );
    expect(long).toBe(short);
    expect(other).not.toBe(short);
  });
});

describe('text that is not a declaration', () => {
  it.each([
    ['nothing', '', '1:1 the file is empty'],
    ['only comments', '# hello\n', '1:1 the file is empty'],
    ['null', '~', '1:1 the file is empty'],
    ['a list', '- a\n- b\n', '1:1 the file must be a mapping of keys to values, not a list'],
    ['text', 'hello', '1:1 the file must be a mapping of keys to values, not text'],
    ['too much', `name: ${'x'.repeat(1024 * 1024)}`, '1:1 the file is larger than 1 MiB'],
  ])('%s', async (_name, text, wanted) => {
    expect(await complaints(text)).toEqual([wanted]);
  });

  it.each([
    ['an open bracket', 'name: node\nusers: [a, b\n', /^3:1 not valid YAML: /],
    ['an open quote', 'name: "node\n', /^2:1 not valid YAML: missing closing "quote/],
    ['a tab as indentation', 'name: node\nbase:\n\tuse: debian\n', /^3:1 not valid YAML: .*[Tt]ab/],
    ['a nested mapping on one line', 'name: a: b\n', /^1:7 not valid YAML: nested mappings/],
    ['two documents', 'name: a\n---\nname: b\n', /^2:1 not valid YAML: .*multiple documents/],
    ['an unknown tag', 'name: !secret x\n', /^1:7 not valid YAML: unresolved tag/],
    ['an alias without an anchor', 'name: *nope\n', /^1:7 there is no anchor "nope"/],
  ])('%s', async (_name, text, wanted) => {
    expect(await complaints(text)).toContainEqual(expect.stringMatching(wanted));
  });

  it('bounds nesting', async () => {
    expect(await complaints(`a: ${'['.repeat(80)}${']'.repeat(80)}`)).toContain(
      '1:68 values are nested too deeply',
    );
    const [first] = await complaints(`a: ${'['.repeat(200_000)}`);
    expect(first).toMatch(/nested too deeply|not valid YAML/);
  });

  it('bounds what aliases expand to', async () => {
    const levels = Array.from({ length: 12 }, (_, level) =>
      level === 0
        ? 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]'
        : `a${level}: &a${level} [${Array.from({ length: 10 }, () => `*a${level - 1}`).join(', ')}]`,
    );
    const started = performance.now();
    expect((await complaints(levels.join('\n'))).some((text) => text.includes('too large'))).toBe(true);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('refuses an alias of itself', async () => {
    expect(await complaints(`${HEAD}users: &u [*u]`)).toContain('3:12 the alias "u" refers to itself');
  });

  it('refuses half of a surrogate pair', async () => {
    expect(await complaints(`${HEAD}summary: "\\uD800"`)).toContain(
      '3:10 the text holds half of a surrogate pair',
    );
  });
});

describe('keys', () => {
  it.each([
    ['kernal: cloud', '3:1 unknown key "kernal"', ['kernel']],
    ['gpu: [h100]', '3:1 unknown key "gpu"', ['gpus']],
    ['drivers: nvidia@550', '3:1 unknown key "drivers"', ['driver']],
    ['users:\n  - name: ops\n    shel: /bin/sh', '5:5 unknown key "shel" in users[0]', ['shell']],
    ['kernel: {flavor: cloud}', '3:10 unknown key "flavor" in kernel', ['flavour']],
    ['variants: [{name: a, pakages: [x]}]', '3:22 unknown key "pakages" in variants[0]', ['packages']],
    ['__proto__: {}', '3:1 unknown key "__proto__"', undefined],
    ['<<: {}', '3:1 unknown key "<<"', undefined],
    ['name: again', '3:1 the key "name" is given twice', undefined],
    ['? [a]\n: b', '3:3 a key must be text', undefined],
  ])('%s', async (text, wanted, suggestions) => {
    const [finding, ...more] = await findingsOf(HEAD + text);
    expect(more).toEqual([]);
    expect(finding === undefined ? '' : show(finding)).toBe(wanted);
    expect(finding?.suggestions).toEqual(suggestions);
  });

  it('must include name and base', async () => {
    expect(await complaints('kernel: cloud')).toEqual(['1:1 name is missing', '1:1 base is missing']);
  });
});

describe('all mistakes at once', () => {
  it('in the order of the text, each once', async () => {
    expect(
      await complaints(`nmae: a
base: debian@13
packages: [htop, htop, 3]
users:
  - {name: root, uid: 3, colour: blue}
units: none
variants:
  - name: x
    kernel: 3
`),
    ).toEqual([
      '1:1 unknown key "nmae"',
      '1:1 name is missing',
      '3:18 the package "htop" is given twice',
      '3:24 packages[2] must be text, not a number; write "3"',
      '5:12 "root" is an account of the system and cannot be declared',
      '5:23 users[0].uid must be at least 1000',
      '5:26 unknown key "colour" in users[0]',
      '6:8 units must be a list, not text',
      '9:13 variants[0].kernel must be text or a mapping, not a number; write "3"',
    ]);
  });

  it('but not without end', async () => {
    const found = await complaints(
      `${HEAD}packages: [${Array.from({ length: 5000 }, () => 'X').join(', ')}]`,
    );
    expect(found).toHaveLength(101);
    expect(found.at(-1)).toMatch(/more problems are not shown$/);
  });
});

describe('whatever the text', () => {
  const value = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(
        'debian@13',
        'ssh',
        '&a x',
        '*a',
        '"\\u0000"',
        '~',
        '0o17',
        '.nan',
        '!!binary aGk=',
        '- -',
      ),
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.array(tie('node'), { maxLength: 4 }).map((items) => `[${items.join(', ')}]`),
      fc
        .array(fc.tuple(fc.constantFrom('name', 'path', 'use', 'run', 'x', '? '), tie('node')), {
          maxLength: 4,
        })
        .map((pairs) => `{${pairs.map(([key, item]) => `${key}: ${String(item)}`).join(', ')}}`),
    ),
  })).node;
  const keys = fc.constantFrom(
    ...[
      'name',
      'base',
      'kernel',
      'users',
      'files',
      'units',
      'variants',
      'extends',
      'packages',
      'health',
      'x',
    ],
  );
  const declaration = fc
    .array(fc.tuple(keys, value), { maxLength: 8 })
    .map((pairs) => pairs.map(([key, item]) => `${key}: ${item}\n`).join(''));

  it('gives an image or findings, nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(declaration, fc.string({ unit: 'binary' })), async (text) => {
        try {
          const { image } = await parseSpec(text, 'x.yaml');
          expect(declarationDigest(image)).toMatch(/^sha256:/);
        } catch (error) {
          if (!(error instanceof IngotError)) throw error;
          expect(error.code).toMatch(/^(?:SPEC_INVALID|IMAGE_UNKNOWN)$/);
        }
      }),
      { numRuns: 500 },
    );
  });
});
