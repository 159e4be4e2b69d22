/**
 * The files that put Ingot itself on a node: a bundle of all modules, the Node.js that runs it, and what belongs
 * to them. The same sources and package-lock.json give the same bytes, wherever they lie.
 *
 * A checkout makes the bundle from its sources. An installed package has none, and brings what `npm run build` made.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as z from 'zod';

import type { ProductFile } from '../catalog/layer.ts';
import { digestOf, hexOf, type Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { writeFileAtomically, type Store } from '../store/store.ts';
import { bundleArgv, esbuildPackage } from '../tools/esbuild.ts';
import { collectLicenses } from './licenses.ts';
import { stripElf } from './strip-elf.ts';

export interface AgentFile {
  readonly name: ProductFile;
  readonly data: Uint8Array;
  readonly digest: Digest;
  readonly size: number;
}

export interface Agent {
  /** Of Ingot. */
  readonly version: string;
  /** Version of Node.js. */
  readonly node: string;
  readonly files: readonly AgentFile[];
}

/** What `npm run build` makes, below the product's folder. */
const BUILT_BUNDLE = 'dist/bundle';
/** The bundles, and what each begins with: threads are started by file name, and so are files of their own. */
const ENTRIES = {
  'ingot.mjs': 'src/main.ts',
  'ingot-node.mjs': 'src/node-main.ts',
  'hash-worker.mjs': 'src/store/hash-worker.ts',
} as const;
type BundleName = keyof typeof ENTRIES;
const BUNDLES = Object.keys(ENTRIES) as BundleName[];
const LICENSES = 'LICENSES';

const Product = z.object({
  name: z.string(),
  version: z.string(),
  license: z.string(),
  type: z.string(),
  engines: z.record(z.string(), z.string()),
});

/** What Node.js calls the processors of our architectures. */
const PROCESSORS = { amd64: 'x64', arm64: 'arm64' } as const;
export type AgentArchitecture = keyof typeof PROCESSORS;

/**
 * @param productRoot the product's own folder
 * @throws IngotError ENVIRONMENT when a part of the product is not installed; TOOL_FAILED, INTERRUPTED
 */
export async function makeAgent(
  productRoot: string,
  architecture: AgentArchitecture,
  signal?: AbortSignal,
): Promise<Agent> {
  const product = Product.parse(JSON.parse(await readFile(join(productRoot, 'package.json'), 'utf8')));
  const [bundle, node] = await Promise.all([
    readBundle(productRoot, signal),
    readNode(productRoot, architecture),
  ]);
  const contents: Readonly<Record<ProductFile, string | Buffer>> = {
    node: stripElf(node.program),
    ...bundle.code,
    'package.json': `${JSON.stringify(product, null, 2)}\n`,
    LICENSES: `${bundle.licenses}\n${node.license}`,
  };
  const files = Object.entries(contents).map(([name, content]): AgentFile => {
    const data = typeof content === 'string' ? Buffer.from(content) : content;
    return { name: name as ProductFile, data, digest: digestOf(data), size: data.length };
  });
  return { version: product.version, node: node.version, files };
}

export interface Bundle {
  readonly code: Readonly<Record<BundleName, string>>;
  /** Of Ingot and of what is bundled with it. */
  readonly licenses: string;
}

/** @throws IngotError ENVIRONMENT */
async function readBundle(productRoot: string, signal: AbortSignal | undefined): Promise<Bundle> {
  const hasSources = (await readIfPresent(join(productRoot, ENTRIES['ingot.mjs']))) !== undefined;
  if (hasSources) return makeBundle(productRoot, signal);
  const readBuilt = async (name: string): Promise<string> => {
    const text = (await readIfPresent(join(productRoot, BUILT_BUNDLE, name)))?.toString();
    if (text !== undefined) return text;
    throw new IngotError('ENVIRONMENT', `the agent of this copy of Ingot is not there: it lacks ${name}`, {
      hint: `make it with \`npm run build\`, which writes ${BUILT_BUNDLE}/; an image without \`agent\` does without`,
    });
  };
  return { code: await mapBundles(readBuilt), licenses: await readBuilt(LICENSES) };
}

/**
 * Bundles a checkout.
 *
 * @throws IngotError ENVIRONMENT without esbuild; TOOL_FAILED, INTERRUPTED
 */
export async function makeBundle(productRoot: string, signal?: AbortSignal): Promise<Bundle> {
  const { engines } = Product.parse(JSON.parse(await readFile(join(productRoot, 'package.json'), 'utf8')));
  const major = Number(/\d+/.exec(engines['node'] ?? '')?.[0]);
  const esbuild = join(findPackage(productRoot, esbuildPackage(process.arch)), 'bin/esbuild');
  const code = await mapBundles(async (name) => {
    const { stdout } = await run(bundleArgv(esbuild, ENTRIES[name], major), { cwd: productRoot, signal });
    return `${stdout}\n`;
  });
  return { code, licenses: await collectLicenses(productRoot) };
}

/** Writes a checkout's bundle where an installed package looks for it. */
export async function writeBundle(productRoot: string): Promise<void> {
  const { code, licenses } = await makeBundle(productRoot);
  const files = { ...code, [LICENSES]: licenses };
  for (const [name, text] of Object.entries(files)) {
    await writeFileAtomically(join(productRoot, BUILT_BUNDLE, name), text);
  }
}

async function mapBundles(make: (name: BundleName) => Promise<string>): Promise<Bundle['code']> {
  const made = await Promise.all(BUNDLES.map(async (name) => [name, await make(name)] as const));
  return Object.fromEntries(made) as Bundle['code'];
}

interface NodeProgram {
  readonly version: string;
  readonly program: Buffer;
  readonly license: string;
}

async function readNode(productRoot: string, architecture: AgentArchitecture): Promise<NodeProgram> {
  const folder = findPackage(productRoot, `node-linux-${PROCESSORS[architecture]}`);
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')));
  const [program, license] = await Promise.all([
    readFile(join(folder, 'bin/node')),
    readFile(join(folder, 'LICENSE'), 'utf8'),
  ]);
  return { version, program, license: `== node ${version}\n\n${license.trim()}\n` };
}

/** Its folder: below the product, or beside it where the product is itself an installed package. */
function findPackage(productRoot: string, name: string): string {
  try {
    return dirname(createRequire(join(productRoot, 'package.json')).resolve(`${name}/package.json`));
  } catch (error) {
    if (errnoOf(error) !== 'MODULE_NOT_FOUND') throw error;
    const isForeign = name.startsWith('node-linux-') && !name.endsWith(`-${process.arch}`);
    throw new IngotError(
      'ENVIRONMENT',
      `the npm package ${name} is not installed: the agent is made with it`,
      {
        hint: isForeign
          ? 'npm installs the Node.js of the machine that it runs on: lock this image on one of its architecture'
          : 'run `npm ci`, with the development packages and without --omit',
        cause: error,
      },
    );
  }
}

/**
 * Puts the agent's files into the store as blobs, where a build finds them by digest. A blob that was damaged is
 * written anew.
 */
export async function storeAgent(store: Store, agent: Agent): Promise<void> {
  for (const { data, digest } of agent.files) {
    const path = store.blobPath(hexOf(digest));
    const present = await readIfPresent(path);
    if (present !== undefined && digestOf(present) === digest) continue;
    await writeFileAtomically(path, data);
  }
}

async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
