/** `ingot push`: an image into registries. */
import { Command, InvalidArgumentError, Option } from 'commander';

import { DELTA_ARTIFACT_TYPE } from '../../delta/format.ts';
import { IngotError } from '../../errors.ts';
import type { ManifestDocument } from '../../oci/image-transfer.ts';
import { parseLocation } from '../../publish/location.ts';
import { DEFAULT_BUILDER, provenanceOf } from '../../publish/provenance.ts';
import type { Attestation } from '../../publish/sign-image.ts';
import { requireRegistry, type Transferred, transferImage } from '../../publish/transfer.ts';
import { BILL_FORMATS, type BillFormat } from '../../sbom/formats.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { findOrigin, type OriginOptions } from '../image-origin.ts';
import type { MadeImageDelta } from '../push-deltas.ts';
import { addRegistryOptions, collect, type RegistryOptions } from '../registry-options.ts';
import { renderTransfers } from '../render-transfer.ts';
import { readVersion } from '../root-command.ts';
import { addSigningOptions, openSigner, type SigningOptions } from '../signing-key.ts';
import { useStoreAndRegistries } from '../use-store-and-registries.ts';

interface PushOptions extends RegistryOptions, OriginOptions, SigningOptions {
  readonly tag?: readonly string[];
  readonly sbom?: readonly BillFormat[];
  readonly deltaFrom?: readonly string[];
  readonly referrers: boolean;
  readonly provenance: boolean;
  readonly builderId?: string;
}

export function pushCommand(bind: Bind): Command {
  const command = new Command('push')
    .description('Send an image to registries. Sends only what they lack; tags move last.')
    .argument('<image>', 'declaration that was built, oci:DIRECTORY[:NAME] or oci-archive:FILE[:NAME]')
    .argument('<ref...>', 'where to, such as registry.example.com/ai/node:1.0')
    .option('--tag <tag>', 'another tag at every place (repeatable)', collect)
    .option('--variant <name>', 'this variant of the declaration alone')
    .option('--layout <dir>', 'where the declaration was built (default: build/NAME)')
    .addOption(
      new Option('--sbom <format>', 'make a list of what is in it and put it beside it (repeatable)')
        .choices(Object.keys(BILL_FORMATS))
        .argParser(collectFormats),
    )
    .option(
      '--delta-from <image>',
      'an image that nodes have: they pull what differs, also inside of layers (repeatable)',
      collect,
    )
    .option('--no-referrers', 'leave behind what refers to the image, such as signatures')
    .option('--no-provenance', 'with a key: do not attest what the image was built from')
    .option('--builder-id <uri>', 'with a key: who built it, such as the address of a pipeline');
  return addRegistryOptions(addSigningOptions(command))
    .addHelpText(
      'after',
      `
Examples:
  ingot push images/debian-minimal.yaml registry.example.com/ai/node:1.0
  ingot push oci:build/debian-minimal registry.example.com/ai/node:1.0
  ingot push oci:build/debian-minimal registry.example.com/ai/node --tag 1.0 --tag stable
  ingot push oci:build/debian-minimal registry.example.com/ai/node:1.0 --key cosign.key
  ingot push oci:build/debian-minimal registry.example.com/ai/node:1.0 --sbom spdx --sbom cyclonedx
  ingot push oci:build/debian-minimal registry.example.com/ai/node:1.1 --delta-from registry.example.com/ai/node:1.0
  ingot push oci:build/debian-minimal localhost:5000/node:1.0 --insecure localhost:5000

With a key it is signed before a tag leads to it, as by \`ingot sign\`, and so are deltas and the lists of --sbom; what it
was built from is attested (SLSA provenance): all of its lock where a declaration is pushed, the digest of its lock otherwise.

Credentials are those of \`skopeo login\`, \`podman login\` and \`docker login\`.
`,
    )
    .action(bind(push));
}

async function push(
  context: CommandContext,
  image: string,
  refs: readonly string[],
  options: PushOptions,
): Promise<CommandResult> {
  const { reporter, signal, cwd } = context;
  const to = refs.map((text) => ({ text, location: parseLocation(text, cwd), names: options.tag ?? [] }));
  for (const { location, text } of to) requireRegistry(location, text);
  const signer = await openSigner(context, options);
  if (signer === undefined && options.builderId !== undefined) {
    throw new IngotError('USAGE', '--builder-id is part of what is signed', {
      hint: 'give a key too: --key FILE',
    });
  }
  if (options.builderId !== undefined && !/^[a-z][a-z0-9+.-]*:\S+$/.test(options.builderId)) {
    throw new IngotError('USAGE', `--builder-id ${JSON.stringify(options.builderId)} is no URI`, {
      hint: 'such as https://ci.example.com/pipelines/node',
    });
  }
  const { from, locks } = await findOrigin(context, image, options);
  const builder = { id: options.builderId ?? DEFAULT_BUILDER, version: readVersion() };
  const attest = (document: ManifestDocument): Attestation | undefined =>
    provenanceOf(document, locks, builder);
  const { allowLockOut } = options;
  const signing =
    signer === undefined ? undefined : { signer, allowLockOut, ...(options.provenance && { attest }) };
  await using opened = await useStoreAndRegistries(context, options);
  const { store, registries } = opened;
  const withReferrers = options.referrers;
  const formats = [...new Set(options.sbom)];
  // Made first: an image that cannot be read is not sent. What makes them takes longer to load than small pushes.
  const documents =
    formats.length === 0
      ? []
      : await (
          await import('../sbom/image-documents.ts')
        ).makeDocuments(context, { from, formats, locks, registries, store });
  await using scratch = options.deltaFrom && (await store.scratch('deltas'));
  const deltas =
    options.deltaFrom === undefined || scratch === undefined
      ? []
      : await (
          await import('../push-deltas.ts')
        ).makeDeltas(context, { to: from, from: options.deltaFrom, registries, folder: scratch.path });
  const transfers = await transferImage({
    ...{ from, to, registries, store, reporter, signal, withReferrers, signing },
    belongings: [
      ...documents,
      ...deltas.flatMap(({ subject, artifact }) => (artifact === undefined ? [] : [{ subject, artifact }])),
    ],
  });
  const result = formats.length === 0 ? renderTransfers(transfers) : withSboms(transfers);
  return options.deltaFrom === undefined ? result : withDeltas(result, deltas);
}

function withDeltas({ json, text }: CommandResult, deltas: readonly MadeImageDelta[]): CommandResult {
  return {
    json: {
      ...(json as object),
      deltas: deltas.map(({ from, subject, bytes, withoutBytes, layers, missing }) => ({
        ...{ from, image: subject.digest, layers, missing, bytes, withoutBytes },
      })),
    },
    text: [text, ...deltas.map((one) => `delta from ${one.from}: ${one.told}`)].join('\n'),
  };
}

function withSboms(transfers: readonly Transferred[]): CommandResult {
  const { json, text } = renderTransfers(transfers);
  // The same at every place; so is whether they are signed.
  const attached = transfers[0]?.attached ?? [];
  const sboms = attached.filter(({ manifest }) => manifest.artifactType !== DELTA_ARTIFACT_TYPE);
  return {
    json: {
      ...json,
      sboms: sboms.map(({ manifest: { digest, artifactType, size }, signed }) => ({
        digest,
        artifactType,
        size,
        ...(signed !== undefined && { key: signed.key }),
      })),
    },
    text: [
      text,
      ...sboms.map(
        ({ manifest: { digest, artifactType = '' }, signed }) =>
          `${artifactType}  ${digest}${signed === undefined ? '' : ', signed'}`,
      ),
    ].join('\n'),
  };
}

function collectFormats(value: string, previous: readonly BillFormat[] = []): readonly BillFormat[] {
  const known = Object.keys(BILL_FORMATS) as BillFormat[];
  const format = known.find((one) => one === value);
  if (format === undefined) throw new InvalidArgumentError(`Allowed choices are ${known.join(', ')}.`);
  return [...previous, format];
}
