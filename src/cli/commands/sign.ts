/** `ingot sign`: signatures beside an image, where it lies. */
import { Command } from 'commander';

import { IngotError } from '../../errors.ts';
import { parseImageReference } from '../../oci/reference.ts';
import {
  type ImageLocation,
  openSource,
  openTarget,
  parseLocation,
  wantedOf,
} from '../../publish/location.ts';
import { type ImageIdentity, type SignedImage, signImage } from '../../publish/sign-image.ts';
import { formatCount } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { addSigningOptions, openSigner, type SigningOptions } from '../signing-key.ts';
import { useStore } from '../use-store.ts';

interface SignFlags extends RegistryOptions, SigningOptions {
  readonly as?: string;
}

export function signCommand(bind: Bind): Command {
  const command = new Command('sign')
    .description('Sign an image and everything in it, so that cosign, podman, bootc and Ingot verify it.')
    .argument('<image>', 'HOST/PATH:TAG or oci:DIRECTORY[:NAME]')
    .option('--as <ref>', 'name to sign it under, HOST/PATH[:TAG] (default: the one it has in the registry)');
  return addRegistryOptions(addSigningOptions(command))
    .addHelpText(
      'after',
      `
Examples:
  ingot sign registry.example.com/ai/node:1.0 --key cosign.key
  ingot sign registry.example.com/ai/node:1.0 --key-fd 3 --password-fd 4 3<key 4<password
  ingot sign oci:build/node:1.0 --as registry.example.com/ai/node:1.0 --key cosign.key
  ingot sign registry.example.com/ai/node:1.0 --key awskms:///alias/node
  SIGSTORE_ID_TOKEN=… ingot sign registry.example.com/ai/node:1.0 --keyless

Keys are those of \`ingot key new\` and \`cosign generate-key-pair\`, or plain P-256 keys in PEM. What the key signed
before is not signed again.
`,
    )
    .action(bind(sign));
}

async function sign(context: CommandContext, text: string, flags: SignFlags): Promise<CommandResult> {
  const { reporter, signal, cwd } = context;
  const location = parseLocation(text, cwd);
  const identity = identityOf(location, text, flags.as);
  const signer = await openSigner(context, flags);
  if (signer === undefined) {
    throw new IngotError('USAGE', 'signing takes a key, or an identity', {
      hint: 'give it: --key FILE, or --key-fd 3 3<FILE, or --keyless',
    });
  }
  await using inUse = await useStore(context);
  await using scratch = await inUse.store.scratch('sign');
  await using registries = await openRegistries(context, flags);
  await using source =
    location.kind === 'registry'
      ? registries.source(location.reference, { mirrors: false })
      : await openSource(location, registries);
  await using target = await openTarget(location, registries, scratch.path);
  const reference = wantedOf(location);
  const places = { source, target, reference, identity, scratch: scratch.path };
  const signed = await signImage({
    ...places,
    ...{ signer, reporter, signal, allowLockOut: flags.allowLockOut },
  });
  return { json: { ref: text, ...signed }, text: renderSigned(signed) };
}

export function renderSigned({ digest, key, issuer, identities, manifests }: SignedImage): string {
  const isNew = manifests.some(({ added }) => added.bundle || added.simpleSignatures > 0);
  return [
    `${isNew ? 'signed' : 'was signed before'}: ${digest}, ${formatCount(manifests.length, 'manifest')}`,
    `as ${identities.join(', ')}`,
    key === undefined ? `by an identity of ${issuer ?? ''}` : `with the key ${key}`,
  ].join('\n');
}

/** @throws IngotError USAGE */
function identityOf(location: ImageLocation, text: string, as: string | undefined): ImageIdentity {
  if (location.kind === 'archive') {
    throw new IngotError('USAGE', `${text} is an archive, which nothing can be added to`, {
      hint: 'sign the layout that it is made from, and copy it: the signatures go along',
    });
  }
  if (as === undefined && location.kind !== 'registry') {
    throw new IngotError('USAGE', `a signature says what the image is called, and ${text} has no name`, {
      hint: 'say what it will be called: --as registry.example.com/ai/node:1.0',
    });
  }
  const reference =
    as !== undefined || location.kind !== 'registry' ? parseImageReference(as ?? '') : location.reference;
  const { registry, repository, tag } = reference;
  return { repository: `${registry}/${repository}`, tags: tag === undefined ? [] : [tag] };
}
