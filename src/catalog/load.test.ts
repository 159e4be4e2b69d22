import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { FindingsError } from '../errors.ts';
import { loadCatalog } from './load.ts';

let root = '';

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-catalog-'));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function put(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}

async function complaints(folders: readonly string[] = [root]): Promise<string[]> {
  const error: unknown = await loadCatalog(folders).catch((reason: unknown) => reason);
  if (!(error instanceof FindingsError)) throw new TypeError('no findings', { cause: error });
  expect(error.code).toBe('CATALOG_INVALID');
  return error.findings.map(({ location, message }) => {
    const place = location === undefined ? '' : `${location.file}:${location.line}:${location.column} `;
    return (place + message).replaceAll(`${root}/`, '');
  });
}

const SSH = 'name: ssh\nkind: addon\nsummary: SSH\n';
const BASE = `name: debian
kind: base
summary: Debian
releases:
  "1": {suite: one, archives: [{name: debian, suites: [one], components: [main], keyring: /k}]}
`;
const withFiles = (files: string): string => `${SSH}install:\n  debian:\n    files: ${files}\n`;

describe('loadCatalog', () => {
  it('reads layers, the files they bring, and the tools', async () => {
    await put({
      'addon/ssh.yaml': withFiles('[{path: /etc/a, from: sub/a, mode: "0600"}, {path: /etc/b, content: b}]'),
      'addon/ssh/sub/a': 'text of a',
      'addon/README.md': 'left alone',
      'tools.yaml': 'base: debian\nrelease: "13"\npackages: [ostree]\n',
    });
    const catalog = await loadCatalog([root]);
    const layer = catalog.find('addon', 'ssh');
    expect(layer?.definition.install.debian?.files.map(({ mode }) => mode)).toEqual([0o600, 0o644]);
    expect(Object.fromEntries(layer?.contents ?? [])).toEqual({ '/etc/a': 'text of a', '/etc/b': 'b' });
    expect(catalog.find('base', 'ssh')).toBeUndefined();
    expect(catalog.tools?.packages).toEqual(['ostree']);
  });

  it('gives a digest that covers definition and files, and not where they are', async () => {
    const digest = async (content: string, folder: string): Promise<string | undefined> => {
      const place = join(root, folder);
      await put({ [`${folder}/addon/ssh.yaml`]: withFiles('[{path: /etc/a, from: a}]') });
      await put({ [`${folder}/addon/ssh/a`]: content });
      return (await loadCatalog([place])).find('addon', 'ssh')?.digest;
    };
    const first = await digest('one', 'x');
    expect(await digest('one', 'y')).toBe(first);
    expect(await digest('two', 'z')).not.toBe(first);
  });

  it('lets later folders win, and tells', async () => {
    await put({ 'one/addon/ssh.yaml': SSH, 'two/addon/ssh.yaml': SSH.replace('SSH', 'mine') });
    const told: string[] = [];
    const catalog = await loadCatalog([join(root, 'one'), join(root, 'two')], {
      onOverride: (layer, replaced) =>
        told.push(`${layer.file} > ${replaced.file}`.replaceAll(`${root}/`, '')),
    });
    expect(catalog.layers.map(({ definition }) => definition.summary)).toEqual(['mine']);
    expect(told).toEqual(['two/addon/ssh.yaml > one/addon/ssh.yaml']);
  });

  it('reports every mistake of every layer in its own file', async () => {
    await put({
      'addon/a.yaml': 'name: a\nkind: addon\nsumary: x\n',
      'addon/b.yaml': 'name: b\nkind: adon\nsummary: b\nneeds: [nope]\n',
      'addon/c.yaml': 'name: x\nkind: addon\nsummary: c\nneeds: [d, kernal, kernel]\n',
      'addon/d.yaml': `${SSH.replace('ssh', 'd')}install: {debian: {packages: [a1, a1], units: [{name: x}]}}\n`,
      'addon/e.yml': SSH,
      'adddon/f.yaml': SSH,
      'base/g.yaml': 'name: g\nkind: base\nsummary: g\n',
      'kernel/h.yaml': 'name: h\nkind: kernel\nsummary: h\ndefaultRelease: "1"\n',
      'addon/j.yaml': `${SSH.replace('ssh', 'j')}install: {debian: {release: g@1}}\n`,
      'addon/i.yaml': '[',
    });
    expect(await complaints()).toEqual([
      'adddon is not a kind of layer',
      'addon/e.yml is not read: name it .yaml',
      'addon/a.yaml:1:1 summary is missing',
      'addon/a.yaml:3:1 unknown key "sumary"',
      expect.stringMatching(/^addon\/b\.yaml:2:7 kind must be base, .* or addon, not "adon"$/),
      'addon/c.yaml:1:7 this file is addon/c, but it says it is addon/x',
      'addon/c.yaml:4:12 there is no layer "kernal"',
      'addon/d.yaml:4:35 "a1" is given twice',
      expect.stringMatching(/^addon\/d\.yaml:4:55 install\.debian\.units\[0\]\.name must be a unit name/),
      expect.stringMatching(/^addon\/i\.yaml:\d:\d not valid YAML/),
      'addon/j.yaml:4:20 only a kernel comes from another release',
      'base/g.yaml:1:1 a base needs releases',
      'kernel/h.yaml:4:1 only a base has defaultRelease',
    ]);
  });

  it('reads what drivers, CUDA and runtimes are made of', async () => {
    await put({
      'base/debian.yaml': BASE,
      'driver/nv.yaml': `name: nv
kind: driver
summary: A driver
status: unverified
provides: [nvidia]
requires:
  - computeCapability >= 7.5
  - modules: open
offers:
  - {in: [debian@1], version: 550.163.01}
modules: {source: nv-dkms, flavour: open}
labels: {gpu: "yes"}
install:
  debian:
    packages: [libcuda1]
    components: [non-free]
    versionOf: [libcuda1]
    repositories:
      - name: vendor
        url: https://example.com/debian{release}
        key: {fingerprint: ${'0A'.repeat(20)}, keyring: /usr/share/keyrings/vendor.gpg}
`,
      'runtime/llm.yaml': `name: llm
kind: runtime
summary: A server
needs: [nvidia]
offers: [{in: [debian@1], version: "0.20", cuda: "13.0", tag: v0.20}]
container: {name: llm, image: docker.io/a/llm, from: llm.container}
`,
      'runtime/llm/llm.container': '[Container]\nImage={image}\n',
    });
    const catalog = await loadCatalog([root]);
    const { definition } = catalog.find('driver', 'nv') ?? {};
    expect(definition?.requires).toEqual([
      {
        kind: 'bounds',
        subject: 'computeCapability',
        bounds: [{ relation: '>=', operand: { version: '7.5' } }],
        text: 'computeCapability >= 7.5',
      },
      { kind: 'words', subject: 'modules', words: ['open'], text: 'modules: open' },
    ]);
    expect(definition?.install.debian?.repositories?.[0]).toMatchObject({ suite: './', components: [] });
    expect(catalog.find('runtime', 'llm')?.quadlet).toContain('Image={image}');
  });

  it('refuses what a kind cannot have, and points into a constraint', async () => {
    await put({
      'base/debian.yaml': BASE,
      'driver/a.yaml': `name: a
kind: driver
summary: a
in: [debian@2]
requires:
  - driver => 525
  - 'memory > 4'
  - modules = open
  - cuda: 12.y
offers: [{in: [debain@1], version: "1", tag: x}]
install: {debian: {packages: [a1]}}
`,
      'driver/b.yaml': `name: b
kind: driver
summary: b
in: [debian@2]
offers: [{in: [debian@3], version: "1", tag: x}]
install: {debian: {packages: [b1]}}
`,
      'addon/c.yaml':
        'name: c\nkind: addon\nsummary: c\noffers: [{in: [debian@1], version: "1"}]\ncontainer: {name: c, image: c.io/c}\n',
      'runtime/d.yaml':
        'name: d\nkind: runtime\nsummary: d\nneeds: [nvidai]\ncontainer: {name: d, image: d.io/d, content: d}\n',
      'driver/e.yaml': 'name: e\nkind: driver\nsummary: e\nprovides: [nvidia]\nmodules: {source: xx}\n',
    });
    expect(await complaints()).toEqual([
      'addon/c.yaml:5:12 container needs either content or from',
      expect.stringMatching(/^driver\/a\.yaml:6:13 requires\[0\] needs a version here, such as 12\.4$/),
      expect.stringMatching(/^driver\/a\.yaml:7:6 requires\[1\] speaks of "memory", which is none of driver/),
      'driver/a.yaml:8:13 requires[2] needs : after modules',
      expect.stringMatching(/^driver\/a\.yaml:9:5 requires\[3\] goes on after its end/),
      'driver/b.yaml:4:5 in is for a layer without offers: they name their own releases',
      'driver/b.yaml:4:6 there is no release "debian@2"',
      'driver/b.yaml:5:10 only an offer of a container has a tag or a digest',
      'driver/b.yaml:5:16 there is no release "debian@3"',
      'driver/b.yaml:6:19 a layer with offers needs versionOf',
      'runtime/d.yaml:4:9 there is no layer "nvidai"',
      'runtime/d.yaml:5:12 a container needs offers: they name its tags',
    ]);
  });

  it('never lets a file from outside of its folder in', async () => {
    await put({
      'addon/ssh.yaml': withFiles(
        [
          '\n      - {path: /etc/a, from: ../other/secret}',
          '- {path: /etc/b, from: link}',
          '- {path: /etc/c, from: out/secret}',
          '- {path: /etc/d, from: /etc/passwd}',
          '- {path: /etc/e, from: nope}',
          '- {path: /etc/f, from: .}',
          '- {path: /etc/g, from: folder}',
        ].join('\n      '),
      ),
      'addon/other/secret': 'secret',
      'addon/ssh/folder/x': 'x',
    });
    await symlink(join(root, 'addon/other/secret'), join(root, 'addon/ssh/link'));
    await symlink(join(root, 'addon/other'), join(root, 'addon/ssh/out'));
    const found = await complaints();
    expect(found).toEqual([
      expect.stringMatching(
        /^addon\/ssh\.yaml:10:30 install\.debian\.files\[3\]\.from must be a path relative/,
      ),
    ]);
    await put({
      'addon/ssh.yaml': withFiles(
        '[{path: /etc/a, from: ../other/secret}, {path: /etc/b, from: link}, {path: /etc/c, from: out/secret}, {path: /etc/e, from: nope}, {path: /etc/f, from: .}, {path: /etc/g, from: folder}]',
      ),
    });
    expect((await complaints()).map((text) => text.replace(/^\S+ /, ''))).toEqual([
      `cannot bring "../other/secret": it is outside of the layer's folder addon/ssh`,
      `cannot bring "link": it is outside of the layer's folder addon/ssh`,
      `cannot bring "out/secret": it is outside of the layer's folder addon/ssh`,
      'cannot bring "nope": there is no addon/ssh/nope',
      `cannot bring ".": it is outside of the layer's folder addon/ssh`,
      'cannot read addon/ssh/folder: it is a folder',
    ]);
  });

  it('asks for one source of a file, and for a sane path', async () => {
    await put({
      'addon/ssh.yaml': withFiles(
        '[{path: /etc/a}, {path: /etc/b, content: x, from: y}, {path: /etc/../c, content: x}]',
      ),
    });
    expect(await complaints()).toEqual([
      'addon/ssh.yaml:6:13 install.debian.files[0] needs one of content, from and product',
      'addon/ssh.yaml:6:29 install.debian.files[1] needs one of content, from and product',
      expect.stringMatching(/^addon\/ssh\.yaml:6:73 install\.debian\.files\[2\]\.path is not a plain path/),
    ]);
  });

  it('lets only an agent have files of Ingot itself', async () => {
    const files = '[{path: /usr/lib/x/node, product: node}, {path: /etc/a, product: nod}]';
    await put({
      'addon/ssh.yaml': withFiles('[{path: /etc/a, content: x}, {path: /usr/lib/x/node, product: node}]'),
      'agent/own.yaml': `name: own\nkind: agent\nsummary: own\ninstall: {debian: {files: ${files}}}\n`,
    });
    expect(await complaints()).toEqual([
      expect.stringMatching(/^agent\/own\.yaml:4:\d+ install\.debian\.files\[1\]\.product must be node, /),
      expect.stringMatching(/^addon\/ssh\.yaml:6:\d+ only an agent has files of Ingot itself$/),
    ]);
  });

  it('says which folder cannot be read', async () => {
    await expect(loadCatalog([join(root, 'nope')])).rejects.toMatchObject({
      code: 'CATALOG_INVALID',
      message: `cannot read the catalogue folder ${root}/nope (ENOENT)`,
    });
  });
});

describe('the catalogue of the product', () => {
  it('is right, and has the layers that its image needs', async () => {
    const catalog = await loadCatalog([join(import.meta.dirname, '../../layers')]);
    const names = catalog.layers.map(({ definition: { kind, name } }) => `${kind}/${name}`);
    expect(names).toEqual(
      expect.arrayContaining([
        'addon/ssh',
        'base/debian',
        'kernel/cloud',
        'kernel/generic',
        'kernel/lts',
        'driver/nvidia-open',
      ]),
    );
    const debian = catalog.find('base', 'debian')?.definition;
    expect(debian?.defaultRelease).toBe('13');
    expect(Object.keys(debian?.releases ?? {})).toEqual(['13', '14', 'sid']);
    expect(catalog.tools?.base).toBe('debian');
  });
});
