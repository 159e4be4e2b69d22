/**
 * What layers make together, each unpacked on its own: where every part of it ends up, by the layers of a real image,
 * and that one layer more leaves the rest as it was.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { hexOf, type Digest } from '../../src/digest.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { localProject, type LocalLayer, type LocalPackage } from '../support/local-project.ts';

/** A package that does what several layers do at once; all names begin with its own. */
function busy(name: string): LocalPackage {
  return {
    name,
    fields: { Depends: 'adduser' },
    files: { [`usr/bin/${name}-tool`]: name, [`etc/${name}.conf`]: name, [`usr/share/${name}/page`]: name },
    scripts: {
      conffiles: `/etc/${name}.conf\n`,
      triggers: `interest-noawait /usr/share/${name}-things\n`,
      preinst: [
        `dpkg-divert --package ${name} --add --no-rename --divert /usr/share/${name}/diverted /usr/share/${name}/original`,
        `dpkg-statoverride --force-all --add root root 0750 /usr/bin/${name}-tool`,
      ].join('\n'),
      postinst: [
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
  three = await unpack('three', { aa: layer('aa-daemon'), mm: layer('mm-daemon'), nn: layer('nn-daemon') });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

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
      const wanted = listed.filter((path) => WANTED.test(path)).join('\n');
      const extract = ['--extract', ...archive, '--directory', root, '--no-same-owner', '--files-from', '-'];
      if (wanted !== '') execFileSync('tar', extract, { ...options, input: wanted });
    }
    paths.set(step.name, own);
  }
  return { root, paths };
}

/** Files that the tests read; removals are none. */
const WANTED = /^(?:etc|usr\/lib\/(?:sysimage|tmpfiles\.d))\/(?!.*\.wh\.).*[^/]$/;
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

  test('the alternative is one of the layers’ programs', () => {
    expect(
      execFileSync('readlink', [join(three.root, 'etc/alternatives/busy')], { encoding: 'utf8' }).trim(),
    ).toMatch(/^\/usr\/bin\/(?:aa|mm|nn)-daemon-tool$/);
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
