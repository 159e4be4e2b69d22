/**
 * What layers make together, each unpacked on its own: where every part of it ends up, by the layers of a real image,
 * and that one layer more leaves the rest as it was.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { readInitramfs } from '../../src/build/lints/cpio.ts';
import { loadLock, lockPathOf } from '../../src/cli/load-lock.ts';
import { hexOf, type Digest } from '../../src/digest.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { localProject, type LocalLayer, type LocalPackage } from '../support/local-project.ts';

/** A package that does what several layers do at once; all names begin with its own. */
function busy(name: string): LocalPackage {
  return {
    name,
    fields: { Depends: 'adduser' },
    files: { [`usr/bin/${name}-tool`]: name, [`etc/${name}.conf`]: name, [`usr/share/${name}/page`]: name },
    scripts: {
      conffiles: `/etc/${name}.conf\n`,
      templates: ['own', 'shared'].map((what) => question(name, what)).join('\n'),
      config: [
        '. /usr/share/debconf/confmodule',
        `db_input medium ${name}/own || true`,
        `db_input medium daemons/shared || true`,
        'db_go || true',
      ].join('\n'),
      triggers: `interest-noawait /usr/share/${name}-things\n`,
      preinst: [
        `dpkg-divert --package ${name} --add --no-rename --divert /usr/share/${name}/diverted /usr/share/${name}/original`,
        `dpkg-statoverride --force-all --add root root 0750 /usr/bin/${name}-tool`,
      ].join('\n'),
      postinst: [
        '. /usr/share/debconf/confmodule',
        `db_get ${name}/own; own=$RET; db_get daemons/shared; shared=$RET`,
        `echo "$own $shared" >/etc/${name}.answers`,
        `adduser --system --group --no-create-home --home /nonexistent ${name}-user`,
        `install -d -o ${name}-user -g ${name}-user /var/lib/${name}`,
        `install -m 0640 -o root -g ${name}-user /dev/null /usr/share/${name}/secret`,
        `update-alternatives --install /usr/bin/busy busy /usr/bin/${name}-tool 10`,
        `echo ${name} >>/var/log/${name}.log`,
        `ldconfig`,
      ].join('\n'),
    },
  };
}

/** For debconf; the shared one is each package's own, and the same. */
function question(name: string, what: string): string {
  const template = what === 'own' ? `${name}/own` : 'daemons/shared';
  const value = what === 'own' ? `of ${name}` : 'of all';
  return `Template: ${template}\nType: string\nDefault: ${value}\nDescription: ${what}\n`;
}

/** A package with Python modules: for all, of its own, and one that no Python can compile. */
const MODULES: LocalPackage = {
  name: 'python3-mods',
  fields: { Depends: 'python3-minimal' },
  files: {
    'usr/lib/python3/dist-packages/mods/__init__.py': 'answer = 42\n',
    'usr/lib/python3/dist-packages/mods/broken.py': 'def (\n',
    'usr/share/mods/private.py': 'import mods\n',
    'usr/share/mods-data/example.py': 'never_compiled = True\n',
  },
  scripts: {
    // As dh_python3 writes it, and then what a package may do with its modules.
    postinst: [
      'if command -v py3compile >/dev/null 2>&1; then',
      '\tpy3compile -p python3-mods',
      '\tpy3compile -p python3-mods /usr/share/mods -V 3.1-',
      'fi',
      'test "$(python3 -c "import mods; print(mods.answer)")" = 42',
    ].join('\n'),
  },
};

/** A package with a setting that goes into the initramfs. */
const EARLY: LocalPackage = {
  name: 'early-setting',
  files: { 'usr/lib/sysctl.d/50-early.conf': 'kernel.panic = 10\n' },
};

let image: BuiltImage;
let folder: string;
let two: Unpacked;
let three: Unpacked;

interface Unpacked {
  /** All layers over each other. */
  readonly root: string;
  /** Paths in the archives of each layer. */
  readonly paths: ReadonlyMap<string, ReadonlySet<string>>;
}

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/merged-'));
  const layer = (name: string): LocalLayer => ({ packages: [busy(name)] });
  two = await unpack('two', { mm: layer('mm-daemon'), nn: layer('nn-daemon') });
  // Configured before and after those that were there.
  three = await unpack('three', {
    aa: layer('aa-daemon'),
    mm: layer('mm-daemon'),
    nn: layer('nn-daemon'),
    python: { packages: await lockedPackages('python3-minimal') },
    mods: { packages: [MODULES], needs: ['python'] },
    early: { packages: [EARLY] },
  });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A package of Debian's with all that it takes beside the shared image, as a lock has them. */
async function lockedPackages(name: string): Promise<readonly LockedPackage[]> {
  const declaration = join(folder, 'locked.yaml');
  const text = readFileSync(image.declaration, 'utf8').replace(/^packages: .*$/m, `packages: [${name}]`);
  writeFileSync(declaration, text);
  copyFileSync(lockPathOf(image.declaration), lockPathOf(declaration));
  await ingotJson(['--store', image.store, 'lock', declaration]);
  const { layers } = await loadLock(lockPathOf(declaration));
  const packages = layers.find((layer) => layer.name === 'packages')?.packages ?? [];
  expect(packages.map((item) => item.name)).toContain(name);
  return packages;
}

async function unpack(name: string, layers: Readonly<Record<string, LocalLayer>>): Promise<Unpacked> {
  const project = await localProject(image, join(folder, name), layers);
  const { exitCode, stdout, stderr } = await project.build(['--json']);
  if (exitCode !== 0) throw new Error(stderr);
  const built = JSON.parse(stdout) as { layers: { name: string; chunks: { digest: Digest }[] }[] };
  const root = join(folder, name, 'root');
  mkdirSync(root);
  const paths = new Map<string, ReadonlySet<string>>();
  for (const step of built.layers) {
    const own = new Set<string>();
    for (const { digest } of step.chunks) {
      const blob = join(project.layout, 'blobs/sha256', hexOf(digest));
      const options = { encoding: 'utf8', maxBuffer: 1 << 27 } as const;
      const archive = ['--zstd', '--file', blob];
      const listed = execFileSync('tar', ['--list', ...archive], options)
        .split('\n')
        .filter(Boolean);
      for (const path of listed) own.add(path);
      const wanted = listed.filter((path) => WANTED.test(path) || INITRAMFS.test(path)).join('\n');
      const extract = ['--extract', ...archive, '--directory', root, '--no-same-owner', '--files-from', '-'];
      if (wanted !== '') execFileSync('tar', extract, { ...options, input: wanted });
    }
    paths.set(step.name, own);
  }
  return { root, paths };
}

/** Files that the tests read; removals are none. */
const WANTED =
  /^(?:etc|usr\/(?:lib\/(?:sysimage|tmpfiles\.d|python3[.0-9]*)|share\/(?:mods|python3)))\/(?!.*\.wh\.).*[^/]$/;
const INITRAMFS = /^usr\/lib\/modules\/[^/]+\/(?:modules\.dep|initramfs\.img)$/;
const read = (path: string, from = three): string => readFileSync(join(from.root, path), 'utf8');
const DPKG = 'usr/lib/sysimage/dpkg';
const daemons = ['aa-daemon', 'mm-daemon', 'nn-daemon'];

function pathsIn(pattern: RegExp, from = three): string[] {
  return [...from.paths].flatMap(([layer, paths]) =>
    [...paths].filter((path) => pattern.test(path)).map((path) => `${layer} ${path}`),
  );
}

describe('the package database', () => {
  test('has every package of every layer, installed, and no trigger waits', () => {
    const status = read(`${DPKG}/status`);
    for (const name of daemons) {
      expect(status).toMatch(new RegExp(`^Package: ${name}\nStatus: install ok installed$`, 'm'));
    }
    expect(status).not.toContain('Triggers-Pending');
    expect(status.match(/^Package: /gm)?.length).toBeGreaterThan(150);
  });

  test('unites diversions, overrides and triggers', () => {
    const diversions = read(`${DPKG}/diversions`);
    const overrides = read(`${DPKG}/statoverride`);
    const triggers = read(`${DPKG}/triggers/File`);
    for (const name of daemons) {
      expect(diversions).toContain(`/usr/share/${name}/original\n/usr/share/${name}/diverted\n${name}\n`);
      expect(overrides).toContain(`root root 750 /usr/bin/${name}-tool\n`);
      expect(triggers).toContain(`/usr/share/${name}-things ${name}`);
    }
  });

  test('is written by the base and the seal alone; each package’s files are in its own layer', () => {
    expect(
      pathsIn(/sysimage\/dpkg\/(?:status|diversions|statoverride|triggers\/.+)$/).map(
        (line) => line.split(' ')[0],
      ),
    ).toEqual(pathsIn(/sysimage\/dpkg\/(?:status|diversions|statoverride|triggers\/.+)$/).map(() => 'seal'));
    expect(pathsIn(/info\/mm-daemon\.list$/)).toEqual([`addon-mm ${DPKG}/info/mm-daemon.list`]);
  });
});

describe('what is made once for all', () => {
  test.each([
    ['accounts', /^etc\/(?:passwd|group|shadow|gshadow)$/],
    ['alternatives', /^etc\/alternatives\/busy$/],
    ['the linker’s cache', /^etc\/ld\.so\.cache$/],
    ['the module index', /^usr\/lib\/modules\/[^/]+\/modules\.(?:dep|alias|symbols)(?:\.bin)?$/],
    ['the initramfs', /initramfs\.img$/],
  ])('%s: by no layer side by side, and by the seal', (_what, pattern) => {
    const layers = new Set(pathsIn(pattern).map((line) => line.split(' ')[0]));
    layers.delete('base'); // which is configured by itself
    expect([...layers]).toEqual(['seal']);
  });

  test('module index and initramfs: before other layers, or by the seal when one brings what goes into them', async () => {
    const madeBy = (from: Unpacked): string[] =>
      pathsIn(INITRAMFS, from).map((line) => line.split(' ')[0] ?? '');
    expect([madeBy(two), madeBy(three)]).toEqual([
      ['initramfs', 'initramfs'],
      ['seal', 'seal'],
    ]);
    expect([...three.paths.keys()]).not.toContain('initramfs');
    const [release = ''] = readdirSync(join(two.root, 'usr/lib/modules'));
    const namesIn = async ({ root }: Unpacked): Promise<string[]> => {
      const names: string[] = [];
      const path = join(root, 'usr/lib/modules', release, 'initramfs.img');
      for await (const entry of readInitramfs(path, () => false)) names.push(entry.path);
      return names;
    };
    // Everything else in it is the same: no other layer has to do with it.
    expect([...new Set(await namesIn(three)).difference(new Set(await namesIn(two)))]).toEqual([
      'usr/lib/sysctl.d/50-early.conf',
    ]);
  });

  test('the alternative is one of the layers’ programs', () => {
    expect(
      execFileSync('readlink', [join(three.root, 'etc/alternatives/busy')], { encoding: 'utf8' }).trim(),
    ).toMatch(/^\/usr\/bin\/(?:aa|mm|nn)-daemon-tool$/);
  });
});

describe('answers to debconf', () => {
  test('are there for the packages of every layer, and for a question that several ask', () => {
    for (const name of daemons) expect(read(`etc/${name}.answers`)).toBe(`of ${name} of all\n`);
  });

  test('come from the seal, whatever other layers there are; its database is in none', () => {
    expect(pathsIn(/^etc\/.*\.answers$/)).toEqual(daemons.map((name) => `seal etc/${name}.answers`));
    for (const name of daemons.slice(1)) {
      expect(read(`etc/${name}.answers`, two)).toBe(read(`etc/${name}.answers`));
    }
    expect(pathsIn(/(?:config|passwords|templates)\.dat/)).toEqual([]);
  });
});

describe('apt’s marks', () => {
  const UNCONFIGURED = ['sourcelist', 'sourceparts', 'preferences', 'preferencesparts'].map(
    (what) => `Dir::Etc::${what}=/dev/null`,
  );

  /** What apt itself reads there. */
  function marked(as: 'auto' | 'manual', ...names: string[]): string[] {
    const at = (path: string): string => join(three.root, 'usr/lib/sysimage', path);
    const settings = [`Dir::State=${at('apt')}`, `Dir::State::status=${at('dpkg/status')}`, ...UNCONFIGURED];
    const options = settings.flatMap((setting) => ['-o', setting]);
    const told = execFileSync('apt-mark', [...options, `show${as}`, ...names], { encoding: 'utf8' });
    return told.split('\n').filter(Boolean);
  }

  test('tell what was asked for from what came along', () => {
    const asked = [...daemons, 'python3-mods', 'systemd'];
    expect(marked('manual', ...asked)).toEqual([...asked].sort());
    const along = ['libpython3.13-minimal', 'python3-minimal'];
    expect(marked('auto', ...along)).toEqual(along);
    expect(marked('auto').length + marked('manual').length).toBe(
      read(`${DPKG}/status`).match(/^Package: /gm)?.length,
    );
    expect(pathsIn(/extended_states$/)).toEqual(['seal usr/lib/sysimage/apt/extended_states']);
  });

  test('are where apt looks for them on a node', () => {
    expect(read('usr/lib/tmpfiles.d/90-ingot-apt.conf')).toBe(
      'L+ /var/lib/apt/extended_states - - - - ../../../usr/lib/sysimage/apt/extended_states\n',
    );
  });
});

describe('Python’s bytecode', () => {
  /** PEP 552: bit 0 says that a hash of the source is in it, bit 1 that somebody looks whether it still holds. */
  const flagsOf = (path: string): number => readFileSync(join(three.root, path)).readUInt32LE(4);
  const compiled = (): string[] => pathsIn(/\.pyc$/);

  test('is made in the layer that brings the modules, and never looked over again', () => {
    expect([...new Set(compiled().map((line) => line.split(' ')[0]))].sort()).toEqual([
      'addon-mods',
      'addon-python',
    ]);
    expect(compiled().length).toBeGreaterThan(50);
    for (const line of compiled()) {
      expect([line, flagsOf(line.replace(/^\S+ /, ''))]).toEqual([line, 1]);
    }
  });

  test('is there for modules of all and of the package, for Python’s own, and for nothing else', () => {
    // Configuring has started Python, which then imports this, and finds no bytecode.
    expect(pathsIn(/sitecustomize\.py$/)).not.toEqual([]);
    const paths = compiled().map((line) => line.replace(/\.cpython-\d+\.pyc$/, ''));
    expect(paths.filter((path) => path.startsWith('addon-mods '))).toEqual([
      'addon-mods usr/lib/python3/dist-packages/mods/__pycache__/__init__',
      'addon-mods usr/share/mods/__pycache__/private',
    ]);
    expect(
      paths.filter((path) => /^addon-python usr\/lib\/python3\.\d+\/__pycache__\/os$/.test(path)),
    ).toHaveLength(1);
  });
});

test('nothing of the node’s, no debris and no half-configured file is in any layer', () => {
  expect(pathsIn(/^(?:var|run|tmp)\/./)).toEqual([]);
  expect(
    pathsIn(
      /\.dpkg-(?:new|old|tmp|dist)$|-old$|^etc\/(?:passwd|group|shadow|gshadow|subuid|subgid)-$|\.pwd\.lock$|\/lock(?:-frontend)?$|triggers\/Lock$/,
    ),
  ).toEqual([]);
  for (const name of daemons) expect(read(`etc/${name}.conf`)).toBe(name);
});

describe('accounts', () => {
  const idsOf = (from: Unpacked, file: 'passwd' | 'group'): Map<string, string> =>
    new Map(
      read(`etc/${file}`, from)
        .trim()
        .split('\n')
        .map((line) => line.split(':'))
        .map(([name = '', , id = '']) => [name, id]),
    );

  test('keep their numbers when a layer comes that makes more', () => {
    for (const file of ['passwd', 'group'] as const) {
      const [before, after] = [idsOf(two, file), idsOf(three, file)];
      expect(before.has('mm-daemon-user')).toBe(true);
      expect(after.has('aa-daemon-user')).toBe(true);
      after.delete('aa-daemon-user');
      expect(after).toEqual(before);
    }
  });

  test('own what was made for them', () => {
    const { root } = three;
    const folderOf = read('usr/lib/tmpfiles.d/90-ingot-var.conf');
    for (const name of daemons) {
      expect(folderOf).toContain(`d /var/lib/${name} 0755 ${name}-user ${name}-user -\n`);
      const gid = idsOf(three, 'group').get(`${name}-user`);
      const blobs = [...three.paths]
        .filter(([, paths]) => paths.has(`usr/share/${name}/secret`))
        .map(([layer]) => layer);
      expect(blobs).toEqual(['seal']);
      expect(listed(root, `usr/share/${name}/secret`)).toMatch(new RegExp(`^-rw-r----- 0/${gid ?? ''} `));
    }
  });
});

/** A line of the seal's archive as GNU tar shows it. */
function listed(root: string, path: string): string {
  const layout = join(root, '../layout');
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as {
    manifests: { digest: Digest }[];
  };
  const blob = (digest: Digest): string => join(layout, 'blobs/sha256', hexOf(digest));
  const manifest = JSON.parse(readFileSync(blob(index.manifests[0]?.digest ?? ('' as Digest)), 'utf8')) as {
    layers: { digest: Digest }[];
  };
  return manifest.layers
    .map(({ digest }) => {
      const list = ['--zstd', '--list', '--verbose', '--numeric-owner', '--file', blob(digest)];
      const lines = execFileSync('tar', list, { encoding: 'utf8', maxBuffer: 1 << 27 }).split('\n');
      return lines.find((line) => line.endsWith(` ${path}`)) ?? '';
    })
    .join('');
}
