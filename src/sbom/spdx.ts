/** A bill as an SPDX 2.3 document in JSON (https://spdx.github.io/spdx-spec/v2.3/). Pure. */
import { createHash } from 'node:crypto';

import type { Bill, BillTool, Component, Supplier } from './bill.ts';
import type { CustomLicence } from './copyright.ts';
import { documentUuid } from './document-identity.ts';
import { ociPurl } from './package-url.ts';

const NOT_TOLD = 'NOASSERTION';
const IMAGE = 'SPDXRef-Image';

const PURPOSES: Readonly<Record<Component['kind'], string>> = {
  package: 'INSTALL',
  'kernel-modules': 'DEVICE',
  source: 'SOURCE',
  container: 'CONTAINER',
  model: 'FILE',
  'agent-file': 'FILE',
};

interface Relationship {
  readonly spdxElementId: string;
  readonly relationshipType: string;
  readonly relatedSpdxElement: string;
}

export function renderSpdx(bill: Bill, tool: BillTool): string {
  const { subject, components, layers, gaps } = bill;
  const custom = new Map(
    components.flatMap(({ licence }) => licence?.custom.map((one) => [one.id, one] as const) ?? []),
  );
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `${subject.name} ${subject.version}`,
    documentNamespace: `https://spdx.org/spdxdocs/${encodeURIComponent(subject.name)}-${documentUuid(bill, 'spdx-2.3', tool)}`,
    creationInfo: { created: subject.created, creators: [`Tool: ${tool.name}-${tool.version}`] },
    ...(gaps.length > 0 && { comment: `${gaps.join('. ')}.` }),
    packages: [imagePackage(bill), ...layers.map(layerPackage), ...components.map(componentPackage)],
    ...(custom.size > 0 && { hasExtractedLicensingInfos: [...custom.values()].sort(byId).map(extracted) }),
    relationships: relationshipsOf(bill),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function imagePackage({ subject: { name, version, digest, description, architecture } }: Bill): object {
  return {
    SPDXID: IMAGE,
    name,
    versionInfo: version,
    downloadLocation: NOT_TOLD,
    filesAnalyzed: false,
    ...(digest !== undefined && { checksums: [sha256(digest.slice('sha256:'.length))] }),
    licenseConcluded: NOT_TOLD,
    licenseDeclared: NOT_TOLD,
    copyrightText: NOT_TOLD,
    ...(description !== undefined && { description }),
    ...(digest !== undefined && {
      externalRefs: [purlReference(ociPurl(name.replaceAll('@', '-'), digest))],
    }),
    comment: `architecture: ${architecture}`,
    primaryPackagePurpose: 'OPERATING_SYSTEM',
  };
}

function layerPackage(name: string): object {
  return {
    SPDXID: layerId(name),
    name: `layer ${name}`,
    downloadLocation: NOT_TOLD,
    filesAnalyzed: false,
    licenseConcluded: NOT_TOLD,
    licenseDeclared: NOT_TOLD,
    copyrightText: NOT_TOLD,
    primaryPackagePurpose: 'ARCHIVE',
  };
}

function componentPackage(component: Component): object {
  const { id, kind, name, version, supplier, source, sha256: hash, licence, homepage, purl } = component;
  return {
    SPDXID: spdxId(id),
    name,
    ...(version !== undefined && { versionInfo: version }),
    ...(supplier !== undefined && { supplier: agentText(supplier) }),
    downloadLocation: NOT_TOLD,
    filesAnalyzed: false,
    ...(hash !== undefined && { checksums: [sha256(hash)] }),
    ...(homepage !== undefined && { homepage }),
    ...(source !== undefined && {
      sourceInfo: `built from the source package ${source.name}${source.version === undefined ? '' : ` ${source.version}`}`,
    }),
    licenseConcluded: NOT_TOLD,
    licenseDeclared: licence?.expression ?? NOT_TOLD,
    copyrightText: NOT_TOLD,
    ...(purl !== undefined && { externalRefs: [purlReference(purl)] }),
    ...(component.build !== undefined && { comment: buildText(component.build) }),
    primaryPackagePurpose: PURPOSES[kind],
  };
}

function buildText({ kernel, flavour, patches, tools }: NonNullable<Component['build']>): string {
  return [
    `kernel: ${kernel}`,
    ...(flavour === undefined ? [] : [`flavour: ${flavour}`]),
    ...patches.map((patch) => `patch: ${patch.name} sha256:${patch.sha256}`),
    ...tools.map((tool) => `built with: ${tool.name} ${tool.version} sha256:${tool.sha256}`),
  ].join('\n');
}

function relationshipsOf({ components, layers, dependencies }: Bill): Relationship[] {
  const relate = (from: string, relationshipType: string, to: string): Relationship => ({
    spdxElementId: from,
    relationshipType,
    relatedSpdxElement: to,
  });
  return [
    relate('SPDXRef-DOCUMENT', 'DESCRIBES', IMAGE),
    ...layers.map((layer) => relate(IMAGE, 'CONTAINS', layerId(layer))),
    ...components.flatMap(({ id, kind, layer, build }) => [
      ...(kind === 'source' ? [] : [containment(id, kind, layer)]),
      ...(build === undefined ? [] : [relate(spdxId(id), 'GENERATED_FROM', spdxId(build.from))]),
    ]),
    ...[...dependencies].flatMap(([id, needed]) =>
      needed.map((one) => relate(spdxId(id), 'DEPENDS_ON', spdxId(one))),
    ),
  ];

  /** Containers and models are beside the image, and not in it. */
  function containment(id: string, kind: Component['kind'], layer: string | undefined): Relationship {
    const holder = layer === undefined ? IMAGE : layerId(layer);
    return kind === 'container' || kind === 'model'
      ? relate(holder, 'DEPENDS_ON', spdxId(id))
      : relate(holder, 'CONTAINS', spdxId(id));
  }
}

/** SPDX knows persons and organizations alone; Debian's maintainer fields do not say which. */
function agentText({ name, email }: Supplier): string {
  const group =
    /\b(?:team|maintainers?|group|developers|project|packagers?|task force|corporation|inc\.?)\b/i;
  const isGroup = group.test(name) || /@(?:lists\.|tracker\.|alioth-lists|packages\.)/.test(email ?? '');
  const clean = name.replaceAll(/[()\n]/g, ' ').trim();
  return `${isGroup ? 'Organization' : 'Person'}: ${clean}${email === undefined ? '' : ` (${email})`}`;
}

function purlReference(purl: string): object {
  return { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl };
}

function sha256(checksumValue: string): object {
  return { algorithm: 'SHA256', checksumValue };
}

function extracted({ id, name, text }: CustomLicence): object {
  return {
    licenseId: id,
    name,
    extractedText:
      text ?? `The copyright file calls this licence ${JSON.stringify(name)} and does not have its text.`,
  };
}

/** Letters, digits, dots and dashes alone; what is lost by that comes back as a hash. */
function spdxId(id: string): string {
  const slug = id.replaceAll(/[^A-Za-z0-9.-]/g, '-');
  if (slug === id.replace('/', '-')) return `SPDXRef-${slug}`;
  return `SPDXRef-${slug}-${createHash('sha256').update(id).digest('hex').slice(0, 8)}`;
}

function layerId(name: string): string {
  return spdxId(`layer/${name}`);
}

function byId(left: CustomLicence, right: CustomLicence): number {
  return left.id < right.id ? -1 : left.id > right.id ? 1 : 0;
}
