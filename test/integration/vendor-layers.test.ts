/**
 * The layers that nobody could try at the vendor's: each is locked over the real indexes of Debian beside
 * repositories of the vendor's in small, with nothing of the layer changed but the address and the key.
 */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { loadCatalog } from '../../src/catalog/load.ts';
import { FindingsError, type Finding } from '../../src/errors.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { runInProcess } from '../support/in-process.ts';
import { MirrorServer, TestKey } from '../support/mirror.ts';
import { publishVendors } from '../support/vendor-repositories.ts';

const LAYERS = join(PRODUCT_ROOT, 'layers');
const catalog = await loadCatalog([LAYERS]);
const UNVERIFIED = catalog.layers
  .filter(({ definition }) => definition.status === 'unverified')
  .map(({ definition, file }) => ({ name: `${definition.kind}/${definition.name}`, file }));

let project: string;
let key: TestKey;
let vendors: MirrorServer;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'ingot-vendor-'));
  key = await TestKey.create();
  await publishVendors(join(project, 'vendors'), key);
  vendors = await MirrorServer.start(join(project, 'vendors'));
  for (const { file } of UNVERIFIED) await copyLayer(file);
});

afterAll(async () => {
  await vendors[Symbol.asyncDispose]();
  await key[Symbol.asyncDispose]();
  await rm(project, { recursive: true });
});

/** Into the project, with the repositories of the test in the place of the vendor's. */
async function copyLayer(file: string): Promise<void> {
  const to = join(project, 'layers', relative(LAYERS, file));
  const fingerprint = await key.fingerprint();
  const text = (await readFile(file, 'utf8'))
    .replaceAll(/(?<=^ *url: )https:\/\//gm, `${vendors.url}/`)
    .replaceAll(/(?<=^ *fingerprint: )\S+$/gm, `'${fingerprint}'`)
    .replaceAll(/(?<=^ *keyring: )\S+$/gm, `'${key.keyring}'`);
  await mkdir(dirname(to), { recursive: true });
  await writeFile(to, text);
  const [quadlet] = /(?<=^ {2}from: )\S+$/m.exec(text) ?? [];
  if (quadlet === undefined) return;
  const folder = to.replace(/\.yaml$/, '');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, quadlet), await readFile(join(file.replace(/\.yaml$/, ''), quadlet)));
}

const RUNTIMES = ['ollama', 'sglang', 'tensorrt-llm', 'triton', 'vllm'];
const DIGESTS = new Map(RUNTIMES.map((name, at) => [name, `sha256:${String(at + 1).repeat(64)}`]));
/** Where there are several releases: a digest is of one of them. */
const VERSIONS: Readonly<Record<string, string>> = { triton: '25.06', vllm: '0.28.0' };
const withDigests = RUNTIMES.map((name) => {
  const version = VERSIONS[name];
  const asked = version === undefined ? '' : `version: '${version}', `;
  return `{use: ${name}, ${asked}digest: '${DIGESTS.get(name) ?? ''}'}`;
});

interface Case {
  readonly declaration: string;
  /** By unverified layer: packages that it owns, as `name=version archive`. */
  readonly layers: Readonly<Record<string, readonly string[]>>;
  readonly lock: object;
}

const ON_DEBIAN = { driver: { layer: 'driver-nvidia-open', version: '550.163.01', package: '550.163.01-2' } };
const ON_VENDOR = {
  driver: {
    layer: 'driver-nvidia-repository',
    version: '580.178.04',
    package: '580.178.04-1',
    modules: 'open',
  },
  modules: [{ source: { name: 'nvidia-kernel-open-dkms', version: '580.178.04-1', archive: 'nvidia-cuda' } }],
};

const CASES: readonly Case[] = [
  {
    declaration: 'gpus: [a30]\ndriver: nvidia@580\ncuda: "13.0"\n',
    layers: {
      'driver/nvidia-repository': [
        'firmware-nvidia-gsp=580.178.04-1 nvidia-cuda',
        'libcuda1=580.178.04-1 nvidia-cuda',
        'libnvidia-ptxjitcompiler1=580.178.04-1 nvidia-cuda',
        'nvidia-driver-cuda=580.178.04-1 nvidia-cuda',
        'nvidia-modprobe=580.178.04-1 nvidia-cuda',
      ],
      'cuda/nvidia-13.0': [
        'cuda-cudart-13-0=13.0.96-1 nvidia-cuda',
        'cuda-libraries-13-0=13.0.3-1 nvidia-cuda',
        'libnccl2=2.27.7-1+cuda13.0 nvidia-cuda',
      ],
    },
    lock: { ...ON_VENDOR, cuda: { layer: 'cuda-nvidia-13.0', version: '13.0', package: '13.0.3-1' } },
  },
  {
    declaration: 'gpus: [a30]\ndriver: nvidia@550\ncuda: {version: "13.0", compat: true}\n',
    layers: { 'cuda/compat-13.0': ['cuda-compat-13-0=580.178.04-1 nvidia-cuda'] },
    lock: { ...ON_DEBIAN, cuda: { layer: 'cuda-nvidia-13.0', version: '13.0' } },
  },
  {
    declaration: 'gpus: [a30]\ndriver: nvidia@550\ncuda: "12.4"\naddons: [dcgm]\n',
    layers: {
      'addon/dcgm': [
        'datacenter-gpu-manager-4-core=1:4.4.2-1 nvidia-cuda',
        'datacenter-gpu-manager-4-cuda12=1:4.4.2-1 nvidia-cuda',
      ],
    },
    lock: { ...ON_DEBIAN, cuda: { layer: 'cuda-runtime', version: '12.4' } },
  },
  {
    declaration: 'gpus: [h100-sxm]\ndriver: nvidia@550\naddons: [fabric-manager, nvlsm]\n',
    layers: {
      'addon/fabric-manager': ['nvidia-fabricmanager-550=550.163.01-1 nvidia-cuda-debian12'],
      'addon/nvlsm': ['nvlsm=2025.10.14-1 nvidia-cuda-debian12'],
    },
    lock: ON_DEBIAN,
  },
  {
    declaration: 'gpus: [b200]\ndriver: nvidia\ncuda: "13.0"\naddons: [fabric-manager, nvlsm]\n',
    layers: {
      'addon/fabric-manager': ['nvidia-fabricmanager=580.178.04-1 nvidia-cuda'],
      'addon/nvlsm': ['nvlsm=2025.10.14-1 nvidia-cuda-debian12'],
    },
    lock: { ...ON_VENDOR, cuda: { layer: 'cuda-nvidia-13.0', version: '13.0', package: '13.0.3-1' } },
  },
  {
    declaration: `gpus: [a30]\ndriver: nvidia@580\nruntimes: [${withDigests.join(', ')}]\n`,
    layers: {
      'addon/container-toolkit': [
        'libnvidia-container-tools=1.20.0-1 nvidia-container-toolkit',
        'libnvidia-container1=1.20.0-1 nvidia-container-toolkit',
        'nvidia-container-toolkit-base=1.20.0-1 nvidia-container-toolkit',
        'nvidia-container-toolkit=1.20.0-1 nvidia-container-toolkit',
      ],
      ...Object.fromEntries(RUNTIMES.map((name) => [`runtime/${name}`, []])),
    },
    lock: {
      ...ON_VENDOR,
      containers: RUNTIMES.map((name): unknown =>
        expect.objectContaining({ layer: `runtime-${name}`, name, digest: DIGESTS.get(name) }),
      ),
    },
  },
];

async function lockOf(declaration: string): Promise<Lock> {
  await writeFile(join(project, 'node.yaml'), `name: node\nbase: debian@13\nkernel: generic\n${declaration}`);
  const path = join(project, 'node.lock.yaml');
  await rm(path, { force: true });
  const passed = ['INGOT_MIRROR', 'INGOT_SECURITY_MIRROR'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const env = { INGOT_STORE: join(project, 'store'), ...Object.fromEntries(passed) };
  said = '';
  await runInProcess(project, ['lock', 'node.yaml'], { env, onStderr: (text) => (said += text) });
  return parseLock(await readFile(path, 'utf8'), path);
}

let said = '';

test('every layer that is unverified is tried here', () => {
  expect([...new Set(CASES.flatMap(({ layers }) => Object.keys(layers)))].sort()).toEqual(
    UNVERIFIED.map(({ name }) => name).sort(),
  );
});

test.each(CASES)('$declaration', async ({ declaration, layers, lock: wanted }) => {
  const lock = await lockOf(declaration);
  expect(lock).toMatchObject(wanted);
  for (const [layer, packages] of Object.entries(layers)) {
    const own = lock.layers.find(({ name }) => name === layer.replace('/', '-'));
    const shown = own?.packages.map(({ name, version, archive }) => `${name}=${version} ${archive}`);
    expect(shown).toEqual(expect.arrayContaining([...packages]));
    expect(said).toContain(`${layer}.yaml is unverified`);
  }
  // What comes from a vendor is what was asked of it: Debian's packages stay Debian's.
  const names = lock.layers.flatMap((layer) => layer.packages);
  const libraries = names.filter(({ name }) => /^lib(?:cuda1$|nvidia-(?!container))/.test(name));
  expect(new Set(libraries.map(({ version }) => version))).toEqual(new Set([lock.driver?.package]));
});

test('a container without a digest is refused, at its runtime', async () => {
  const error = await thrownBy('gpus: [a30]\ndriver: nvidia@580\nruntimes: [vllm, triton]\n');
  const refused = error.filter(({ severity }) => severity === 'error');
  expect(refused.map(({ message, location }) => [message, location?.line])).toEqual([
    [expect.stringMatching(/^vllm is the container .*: add `version` \(0\.28\.0, .*\) and its `digest`$/), 6],
    [expect.stringMatching(/^triton is the container .*: add `version` \(26\.08, .*\) and its `digest`$/), 6],
  ]);
});

test('what a vendor does not have is told with the layer that asks for it', async () => {
  const gone = new Set([...Object.values(MISSING), 'nvidia-fabricmanager-550']);
  await publishVendors(join(project, 'vendors'), key, gone);
  for (const { declaration, layers } of CASES) {
    const found = await thrownBy(declaration);
    const expected = Object.keys(layers).flatMap((layer) => {
      const name = MISSING[layer];
      return name === undefined
        ? []
        : [expect.stringMatching(`${name}.*\\(asked for by layer ${layer}\\)`) as unknown];
    });
    for (const one of expected) expect(found.map(({ message }) => message)).toContainEqual(one);
    expect(new Set(found.map(({ code }) => code))).toEqual(new Set(['PACKAGE_UNKNOWN']));
    await expect(stat(join(project, 'node.lock.yaml'))).rejects.toThrow();
  }
});

const MISSING: Readonly<Record<string, string>> = {
  'driver/nvidia-repository': 'nvidia-driver-cuda',
  'cuda/nvidia-13.0': 'cuda-libraries-13-0',
  'cuda/compat-13.0': 'cuda-compat-13-0',
  'addon/dcgm': 'datacenter-gpu-manager-4-cuda12',
  // Or what it is called for an older driver.
  'addon/fabric-manager': 'nvidia-fabricmanager',
  'addon/nvlsm': 'nvlsm',
  'addon/container-toolkit': 'nvidia-container-toolkit',
};

async function thrownBy(declaration: string): Promise<readonly Finding[]> {
  const error: unknown = await lockOf(declaration).catch((thrown: unknown) => thrown);
  if (!(error instanceof FindingsError)) throw new TypeError('nothing was found wrong', { cause: error });
  return error.findings;
}
