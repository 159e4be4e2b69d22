/** A lock and an image with one of everything that a bill of materials can have. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { digestOf } from '../../src/digest.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import { Lock } from '../../src/resolve/lock.ts';
import { sourceNameOf } from '../../src/packages/package.ts';
import type { InstalledPackage, Software } from '../../src/sbom/software.ts';

const PRODUCT = resolve(import.meta.dirname, '../..');

/** The lock of a real image, with modules, a container and the agent besides. */
export function fullLock(): Lock {
  const file = 'images/debian-minimal.lock.yaml';
  const lock = parseLock(readFileSync(join(PRODUCT, file), 'utf8'), file);
  const source = {
    name: 'nvidia-open-kernel-dkms',
    version: '550.163.01-2',
    architecture: 'amd64',
    sha256: 'a'.repeat(64),
    size: 1,
    filename: 'pool/contrib/n/nvidia-open-gpu-kernel-modules/nvidia-open-kernel-dkms_550.163.01-2_amd64.deb',
    archive: 'debian',
  };
  const compiler = { ...source, name: 'gcc-14', version: '14.2.0-19', sha256: 'b'.repeat(64) };
  return Lock.parse({
    ...lock,
    modules: [
      { layer: 'base', source, flavour: 'open', patches: [{ name: 'for-6.12', sha256: 'c'.repeat(64) }] },
    ],
    compile: { packages: [compiler] },
    containers: [
      {
        layer: 'base',
        name: 'vllm',
        image: 'docker.io/vllm/vllm-openai',
        tag: 'v0.20.0',
        digest: digestOf('container'),
      },
    ],
    models: [
      {
        name: 'tiny',
        artifact: 'registry.example.com/models/tiny',
        tag: 'q4',
        digest: digestOf('model'),
        files: [{ name: 'tiny.gguf', digest: digestOf('weights'), size: 7 }],
      },
    ],
    agent: {
      name: 'ingot',
      layer: 'base',
      version: '0.1.0',
      node: '24.0.0',
      files: [
        { name: 'ingot.mjs', digest: digestOf('agent'), size: 5 },
        { name: 'node', digest: digestOf('node'), size: 5 },
      ],
    },
  });
}

/** What an image of that lock would tell: every package with a source, a maintainer and a licence. */
export function softwareOf(lock: Lock): Software {
  const packages = lock.layers
    .flatMap((layer) => layer.packages)
    .map(({ name, version, architecture, filename }): InstalledPackage => ({
      name,
      version,
      architecture,
      source: { name: sourceNameOf({ name, filename }), version },
      maintainer: 'Debian "QA" Group (really) <packages@qa.debian.org>',
      homepage: 'https://example.com/a b',
      depends: name === 'libc6' ? '' : 'libc6 (>= 2.30) | libc6.1, gone',
      provides: '',
    }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
  const format = 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/';
  const copyright = `${format}\n\nFiles: *\nCopyright: x\nLicense: GPL-2+ or MIT\n\nLicense: MIT\n Do as you like.\n`;
  return {
    digest: digestOf('image'),
    annotations: { 'org.opencontainers.image.description': 'A node <of> "words" & signs' },
    os: { id: 'debian', release: '13', codename: 'trixie' },
    architecture: 'amd64',
    packages,
    copyrights: new Map(packages.map(({ name }) => [name, copyright])),
    layers: new Map(),
  };
}

/** An image of a distribution of rpm packages. */
export function rpmSoftware(): Software {
  const one = {
    format: 'rpm',
    architecture: 'x86_64',
    maintainer: 'Fedora Project',
    depends: '',
    provides: '',
  } as const;
  const kernel = { ...one, name: 'kernel-core', homepage: 'https://www.kernel.org/' };
  return {
    digest: digestOf('rpm image'),
    annotations: {},
    os: { id: 'fedora', release: '42' },
    architecture: 'amd64',
    packages: [
      {
        ...one,
        name: 'bash',
        version: '1:5.2.37-1.fc42',
        source: { name: 'bash', version: '5.2.37-1.fc42' },
        homepage: undefined,
        licence: 'GPL-3.0-or-later AND LicenseRef-Fedora-Public-Domain',
      },
      ...['6.14.0-1.fc42', '6.15.0-1.fc42'].map((version) => ({
        ...kernel,
        version,
        source: { name: 'kernel', version },
        licence: 'GPLv2 and Redistributable, no modification permitted',
      })),
    ],
    copyrights: new Map(),
    layers: new Map(),
  };
}
