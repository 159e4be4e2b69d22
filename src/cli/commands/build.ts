/** `ingot build`: the image of a lock, as an OCI layout. */
import { Command } from 'commander';
import { join, relative, resolve } from 'node:path';

import { storeAgent } from '../../agent/agent.ts';
import { buildImage, type BuiltImage } from '../../build/build-image.ts';
import type { PathPart } from '../../build/timeline.ts';
import type { ModuleSigner } from '../../build/modules/signature.ts';
import { hexOf } from '../../digest.ts';
import { requireLayoutPlace, writeLayout } from '../../oci/layout-write.ts';
import { loadMirrors } from '../../packages/mirror.ts';
import { archiveMirrors } from '../../packages/rpm/archive-mirrors.ts';
import { formatBytes, formatSeconds, formatTable } from '../../report/format.ts';
import type { BuildVerification } from '../verify-build.ts';
import type { LayerCache } from '../../build/layer-cache.ts';
import type { RegistryAccess } from '../../oci/registry/access.ts';
import type { Store } from '../../store/store.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { baseSource } from '../base-image.ts';
import { parseLayoutFolder } from '../layout-folder.ts';
import { writeLastPlan } from '../last-plan.ts';
import { loadModuleSigner } from '../module-key.ts';
import { preparePlan, type PreparedPlan } from '../prepare-plan.ts';
import { scriptSilenceMs } from '../script-silence.ts';
import { addRegistryOptions, collect, lazyRegistries, type RegistryOptions } from '../registry-options.ts';
import { useStore } from '../use-store.ts';

interface BuildOptions extends RegistryOptions {
  readonly cacheFrom?: readonly string[];
  readonly cacheTo?: readonly string[];
  readonly variant?: string;
  readonly lock?: string;
  readonly output?: string;
  readonly verify?: true;
  readonly moduleKey?: string;
  readonly moduleKeyPassphrase?: string;
  readonly moduleCertificate?: string;
}

export function buildCommand(bind: Bind): Command {
  const command = new Command('build')
    .description(
      'Build the image that a lock describes, as an OCI image layout. The same lock gives the same digest.',
    )
    .argument('<file>', 'declaration, such as images/debian-minimal.yaml')
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'another lock than the one beside the declaration')
    .option(
      '-o, --output <dir>',
      'the layout to write (default: build/NAME); an image in it of this version is replaced',
      parseLayoutFolder,
    )
    .option('--verify', 'build again from nothing, compare, and show where the two differ')
    .option(
      '--module-key <fd-or-uri>',
      'sign kernel modules that are built, with the RSA key of this file descriptor or PKCS#11 URI',
    )
    .option(
      '--module-key-passphrase <fd>',
      'the passphrase of that key or the PIN of its token, from another descriptor',
    )
    .option('--module-certificate <file>', 'the certificate of that key, which the image then holds')
    .option(
      '--cache-from <repo>',
      'fetch layers from this repository, HOST/PATH (repeatable); trusts it',
      collect,
    )
    .option('--cache-to <repo>', 'keep the layers in this repository, HOST/PATH (repeatable)', collect);
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot build images/debian-minimal.yaml
  ingot build images/debian-minimal.yaml --output /srv/images/minimal
  ingot build images/debian-minimal.yaml --json | jq -r .digest
  ingot build images/debian-minimal.yaml --verify
  ingot build images/debian-nvidia-cuda.yaml --module-certificate mok.pem --module-key 3 3<mok.key
  ingot build images/debian-nvidia-cuda.yaml --module-certificate mok.pem \\
    --module-key 'pkcs11:token=Build%20keys;object=mok' --module-key-passphrase 3 3<pin
  ingot build images/debian-minimal.yaml --cache-from registry.example.com/ci/layers

Needs root. Fails closed: without a lock, with a stale one, and when a package is not what the lock says.
`,
    )
    .action(bind(build));
}

export interface BuildOutcome extends PreparedPlan {
  readonly image: BuiltImage;
  /** Absolute path of the layout. */
  readonly layout: string;
  /** `oci:DIRECTORY:VERSION`, relative to the working directory. */
  readonly ref: string;
  readonly moduleSigner?: ModuleSigner;
}

/** Builds a declaration's image and puts it into a layout: the whole job of `build`, for whoever needs an image. */
export async function buildDeclaration(
  context: CommandContext,
  file: string,
  options: BuildOptions,
): Promise<BuildOutcome> {
  const { reporter, signal, cwd } = context;
  const silenceMs = scriptSilenceMs(context.env);
  const moduleSigner = await loadModuleSigner(context, options);
  const signer = moduleSigner?.fingerprint;
  const prepared = await preparePlan(context, file, { ...options, toBuild: true, signer });
  if (moduleSigner !== undefined && prepared.lock.modules === undefined) {
    reporter.warning(`${file}: the image has no kernel modules to sign`);
  }
  const { plan, spec, lock } = prepared;
  const layout = resolve(cwd, options.output ?? join('build', nameOf(prepared)));
  await requireLayoutPlace(layout);
  await using inUse = await useStore(context);
  const { store } = inUse;
  if (prepared.agent !== undefined) await storeAgent(store, prepared.agent);
  const { cacheFrom = [], cacheTo = [] } = options;
  await using registries = lazyRegistries(context, options);
  const openCaches = (names: readonly string[]): Promise<LayerCache[]> =>
    Promise.all(names.map(async (name) => openCache(name, await registries.open(), store)));
  const caches = { from: await openCaches(cacheFrom), to: await openCaches(cacheTo) };
  const image = await buildImage({
    plan,
    store,
    caches,
    mirrors: async () => archiveMirrors(await loadMirrors(context.env, signal), lock.archives, signal),
    reporter,
    signal,
    openBase: baseSource(spec, {
      cwd,
      store,
      registries: registries.open,
      reporter,
      signal,
    }),
    scriptSilenceMs: silenceMs,
    moduleSigner,
    locate: (path) => spec.sources.at(path),
  });
  // `disk` and `test` find the tools that belong to an image by the lock it names.
  await store.writeRecordOnce('locks', hexOf(plan.lock), lock);
  await writeLastPlan(store, prepared);
  await reporter.stage('Write layout', () =>
    writeLayout(
      layout,
      { name: plan.version, manifest: image.manifest },
      (digest) => store.blobPath(hexOf(digest)),
      {
        signal,
      },
    ),
  );
  const shown = relative(cwd, layout);
  return {
    ...prepared,
    ...(moduleSigner !== undefined && { moduleSigner }),
    image,
    layout,
    ref: `oci:${shown.startsWith('..') ? layout : shown}:${plan.version}`,
  };
}

async function openCache(name: string, registries: RegistryAccess, store: Store): Promise<LayerCache> {
  const { RegistryLayerCache } = await import('../../publish/registry-layer-cache.ts'); // most builds have none
  return RegistryLayerCache.open(name, registries, store);
}

async function build(context: CommandContext, file: string, options: BuildOptions): Promise<CommandResult> {
  const outcome = await buildDeclaration(context, file, options);
  const { image, ref, plan } = outcome;
  const verified = options.verify === true ? await verify(context, outcome) : undefined;
  const { digest, layers, seconds, criticalPath } = image;
  if (criticalPath.length > 0) context.reporter.debug(`critical path: ${renderPath(criticalPath)}`);
  const columns = [
    { title: 'LAYER' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'CHUNKS', align: 'right' as const },
    { title: 'BUILT' },
  ];
  const rows = layers.map((layer) => [
    layer.name,
    formatBytes(layer.size),
    String(layer.chunks.length),
    layer.cache !== undefined ? 'fetched' : layer.cached ? 'in the store' : formatSeconds(layer.seconds),
  ]);
  const total = layers.reduce((sum, layer) => sum + layer.size, 0);
  return {
    json: {
      digest,
      ref,
      name: plan.name,
      version: plan.version,
      layers,
      seconds,
      criticalPath,
      ...(verified !== undefined && { verification: verified.verification }),
    },
    text: [
      formatTable(columns, rows),
      '',
      `${plan.name} ${plan.version}, ${formatBytes(total)}, ${image.cached ? 'nothing changed' : `built in ${formatSeconds(seconds)}`}`,
      digest,
      ref,
      ...(verified === undefined ? [] : [verified.text]),
      '',
    ].join('\n'),
    exitCode: verified?.verification.reproducible === false ? 1 : 0,
  };
}

function renderPath(path: readonly PathPart[]): string {
  return path
    .map(
      ({ step, part, seconds }) => `${part === 'blobs' ? `packing ${step}` : step} ${formatSeconds(seconds)}`,
    )
    .join(', ');
}

interface Verified {
  readonly verification: BuildVerification;
  readonly text: string;
}

async function verify(context: CommandContext, outcome: BuildOutcome): Promise<Verified> {
  const { renderVerification, verifyBuild } = await import('../verify-build.ts');
  const verification = await verifyBuild(context, outcome);
  return { verification, text: renderVerification(verification) };
}

function nameOf({ plan, spec }: PreparedPlan): string {
  return spec.image.variant === undefined ? plan.name : `${plan.name}@${spec.image.variant}`;
}
