/** A bill as a CycloneDX 1.6 document in JSON (https://cyclonedx.org/docs/1.6/json/). Pure. */
import * as Enums from '@cyclonedx/cyclonedx-library/Enums';
import * as Models from '@cyclonedx/cyclonedx-library/Models';
import * as Serialize from '@cyclonedx/cyclonedx-library/Serialize';
import * as Spec from '@cyclonedx/cyclonedx-library/Spec';

import type { Bill, BillTool, Component } from './bill.ts';
import { documentUuid } from './document-identity.ts';
import { ociPurl } from './package-url.ts';

const TYPES: Readonly<Record<Component['kind'], Enums.ComponentType>> = {
  package: Enums.ComponentType.Library,
  'kernel-modules': Enums.ComponentType.DeviceDriver,
  source: Enums.ComponentType.Library,
  container: Enums.ComponentType.Container,
  model: Enums.ComponentType.MachineLearningModel,
  'agent-file': Enums.ComponentType.File,
};

export function renderCycloneDx(bill: Bill, tool: BillTool): string {
  const image = imageComponent(bill);
  const components = new Map(bill.components.map((one) => [one.id, describe(one)]));
  for (const [id, needed] of bill.dependencies) {
    for (const one of needed) depend(components.get(id), components.get(one));
  }
  for (const { id, kind, build } of bill.components) {
    if (kind !== 'source') depend(image, components.get(id));
    if (build !== undefined) depend(components.get(id), components.get(build.from));
  }
  const self = new Models.Component(Enums.ComponentType.Application, tool.name, { version: tool.version });
  const bom = new Models.Bom({
    serialNumber: `urn:uuid:${documentUuid(bill, 'cyclonedx-1.6', tool)}`,
    metadata: new Models.Metadata({
      timestamp: new Date(bill.subject.created),
      component: image,
      tools: new Models.Tools({ components: new Models.ComponentRepository([self]) }),
      properties: properties(bill.gaps.map((gap) => ['ingot:gap', gap])),
    }),
    components: new Models.ComponentRepository(components.values()),
  });
  const normalizer = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  const text = new Serialize.JsonSerializer(normalizer).serialize(bom, { sortLists: true, space: 2 });
  return `${text}\n`;
}

function imageComponent({ subject }: Bill): Models.Component {
  const { name, version, digest, lock, description, architecture, base } = subject;
  return new Models.Component(Enums.ComponentType.Container, name, {
    bomRef: 'image',
    version,
    ...(description !== undefined && { description }),
    ...(digest !== undefined && {
      purl: ociPurl(name.replaceAll('@', '-'), digest),
      hashes: sha256(digest.slice(7)),
    }),
    properties: properties([
      ['ingot:architecture', architecture],
      ['ingot:base', base],
      ['ingot:lock', lock],
    ]),
  });
}

function describe(component: Component): Models.Component {
  const { id, kind, name, version, purl, sha256: hash, licence, supplier, homepage } = component;
  const { source, build, layer, architecture } = component;
  return new Models.Component(TYPES[kind], name, {
    bomRef: id,
    ...(version !== undefined && { version }),
    ...(purl !== undefined && { purl }),
    ...(hash !== undefined && { hashes: sha256(hash) }),
    ...(licence !== undefined && { licenses: new Models.LicenseRepository([declared(licence.expression)]) }),
    ...(supplier !== undefined && {
      supplier: new Models.OrganizationalEntity({
        name: supplier.name,
        contact: new Models.OrganizationalContactRepository([new Models.OrganizationalContact(supplier)]),
      }),
    }),
    ...(homepage !== undefined && {
      externalReferences: new Models.ExternalReferenceRepository([
        new Models.ExternalReference(homepage, Enums.ExternalReferenceType.Website),
      ]),
    }),
    // It was needed to build what is in the image, and is not in it.
    ...(kind === 'source' && { scope: Enums.ComponentScope.Excluded }),
    properties: properties([
      ['ingot:kind', kind],
      ['ingot:layer', layer],
      ['ingot:architecture', architecture],
      ['ingot:source', source?.name],
      ['ingot:source-version', source?.version],
      ['ingot:kernel', build?.kernel],
      ['ingot:flavour', build?.flavour],
      ...(build?.patches ?? []).map((one) => ['ingot:patch', `${one.name} sha256:${one.sha256}`] as const),
      ...(build?.tools ?? []).map(
        (one) => ['ingot:built-with', `${one.name} ${one.version} sha256:${one.sha256}`] as const,
      ),
    ]),
  });
}

function declared(expression: string): Models.LicenseExpression {
  const licence = new Models.LicenseExpression(expression);
  licence.acknowledgement = Enums.LicenseAcknowledgement.Declared;
  return licence;
}

function sha256(hex: string): Models.HashDictionary {
  return new Models.HashDictionary([[Enums.HashAlgorithm['SHA-256'], hex]]);
}

function properties(said: readonly (readonly [string, string | undefined])[]): Models.PropertyRepository {
  return new Models.PropertyRepository(
    said.flatMap(([name, value]) => (value === undefined ? [] : [new Models.Property(name, value)])),
  );
}

function depend(one: Models.Component | undefined, other: Models.Component | undefined): void {
  if (one !== undefined && other !== undefined) one.dependencies.add(other.bomRef);
}
