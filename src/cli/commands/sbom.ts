/** `ingot sbom`: what an image is made of, as a table, as a document, or against another image. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { Command, Option } from 'commander';

import { IngotError } from '../../errors.ts';
import { formatBytes } from '../../report/format.ts';
import { compareBills } from '../../sbom/compare-bills.ts';
import { BILL_FORMATS, type BillFormat } from '../../sbom/formats.ts';
import { renderDocument } from '../../sbom/render-document.ts';
import { type BillQuery, selectComponents } from '../../sbom/select-components.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, collect, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { readVersion } from '../root-command.ts';
import { findOrigin } from '../image-origin.ts';
import { readAttached } from '../sbom/image-documents.ts';
import { gatherBill } from '../sbom/gather-bill.ts';
import { renderBill, renderBillDifference } from '../sbom/render-bill.ts';
import { readPublicKeys } from '../signing-key.ts';
import { useStore } from '../use-store.ts';

interface SbomOptions extends RegistryOptions, BillQuery {
  readonly format?: BillFormat;
  readonly output?: string;
  readonly lock?: string;
  readonly against?: string;
  readonly attached?: true;
  readonly key?: readonly string[];
}

export function sbomCommand(bind: Bind): Command {
  const command = new Command('sbom')
    .description(
      'Tell what an image is made of: packages, kernel modules, containers, the agent; and licences.',
    )
    .argument(
      '<image>',
      'declaration, lock, or image: oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME], HOST/PATH:TAG',
    )
    .addOption(
      new Option('--format <format>', 'print a document: SPDX 2.3 or CycloneDX 1.6, in JSON').choices(
        Object.keys(BILL_FORMATS),
      ),
    )
    .option('-o, --output <file>', 'write the document to this file')
    .option('--attached', 'print the document that somebody put beside the image, as it is')
    .option('--key <file>', 'with --attached: only one signed by this public key (repeatable)', collect)
    .option('--lock <file>', 'the lock of an image, when it was not built on this machine')
    .option('--package <pattern>', 'only packages of this name or source name, such as linux-*')
    .option(
      '--licence <pattern>',
      'only what is under such a licence, such as GPL-3.0*; NOASSERTION for none',
    )
    .option('--layer <name>', 'only what this layer brings')
    .option('--supplier <pattern>', 'only what comes from this maintainer, by name or address')
    .option(
      '--against <image>',
      'tell what changed since this one, which may be anything that <image> may be',
    );
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot sbom images/debian-minimal.yaml
  ingot sbom oci:build/debian-minimal --format spdx --output node.spdx.json
  ingot sbom oci:build/debian-minimal --licence 'GPL-3*' --layer base
  ingot sbom new.lock.yaml --against old.lock.yaml
  ingot sbom registry.example.com/ai/node:1.0 --format spdx --attached --key node.pub
  ingot sbom registry.example.com/ai/node:1.0 --format cyclonedx | jq .metadata.component

A lock tells versions and digests, an image licences, suppliers and dependencies: with both, all is told. The same
image and lock give the same document, byte for byte. Where a licence is not certain, none is claimed.
`,
    )
    .action(bind(sbom));
}

async function sbom(context: CommandContext, argument: string, options: SbomOptions): Promise<CommandResult> {
  requireFitting(options);
  await using inUse = await useStore(context);
  await using registries = await openRegistries(context, options);
  const { format } = options;
  if (options.attached === true && format !== undefined) {
    const { from } = await findOrigin(context, argument);
    const keys = options.key && (await readPublicKeys(context, options.key));
    return await printDocument(
      context,
      options,
      format,
      await readAttached(context, { from, format, keys, registries }),
    );
  }
  const gather = { registries, store: inUse.store };
  const { bill } = await gatherBill(context, argument, { ...gather, lock: options.lock });
  if (options.against !== undefined) {
    const before = await gatherBill(context, options.against, gather);
    const difference = compareBills(before.bill, bill);
    return {
      json: { from: before.bill.subject, to: bill.subject, ...difference },
      text: renderBillDifference(difference, context.palette),
    };
  }
  if (format !== undefined) {
    const document = renderDocument(bill, format, { name: 'ingot', version: readVersion() });
    return await printDocument(context, options, format, document);
  }
  const components = selectComponents(bill, options);
  return {
    json: { subject: bill.subject, gaps: bill.gaps, components },
    text: renderBill(bill, components, context.palette),
  };
}

async function printDocument(
  { cwd }: CommandContext,
  { output }: SbomOptions,
  format: BillFormat,
  document: string,
): Promise<CommandResult> {
  if (output === undefined) {
    return { json: { format, document: JSON.parse(document) as unknown }, text: document };
  }
  await writeFile(resolve(cwd, output), document);
  const size = Buffer.byteLength(document);
  return { json: { format, output, size }, text: `${output}  ${formatBytes(size)}` };
}

const QUERY = ['package', 'licence', 'layer', 'supplier'] as const;

/** @throws IngotError USAGE */
function requireFitting(options: SbomOptions): void {
  const { format, output, against } = options;
  const query = QUERY.find((name) => options[name] !== undefined);
  if (output !== undefined && format === undefined) {
    throw new IngotError('USAGE', '--output writes a document, and --format does not say which', {
      hint: `add --format ${Object.keys(BILL_FORMATS).join(' or --format ')}`,
    });
  }
  if (options.attached === true && format === undefined) {
    throw new IngotError('USAGE', '--attached prints a document, and --format does not say which', {
      hint: `add --format ${Object.keys(BILL_FORMATS).join(' or --format ')}`,
    });
  }
  if (options.key !== undefined && options.attached !== true) {
    throw new IngotError('USAGE', '--key says whose document counts, and --attached is missing', {
      hint: 'what Ingot makes from the image itself needs no signature',
    });
  }
  if (query !== undefined && (format !== undefined || against !== undefined)) {
    const other = format === undefined ? 'against' : 'format';
    throw new IngotError('USAGE', `--${query} does not go with --${other}`, {
      hint:
        other === 'format'
          ? 'a document is of the whole image: ask without --format'
          : 'the difference is of whole images: ask without it',
    });
  }
  if (format !== undefined && against !== undefined) {
    throw new IngotError('USAGE', '--against does not go with --format', {
      hint: 'leave out --format: --json prints the difference as JSON',
    });
  }
}
