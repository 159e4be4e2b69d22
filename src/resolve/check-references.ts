/** NodeImage × catalogue → what it names that is not there. Pure. */
import type { Catalog, LayerKind } from '../catalog/layer.ts';
import { IngotError, type Finding } from '../errors.ts';
import { parseImageReference } from '../oci/reference.ts';
import { unknownName } from '../spec/check-names.ts';
import { ANY_KERNEL, type NodeImage, OWN_KERNEL, type ParsedSpec } from '../spec/node-image.ts';
import { choose } from './choose.ts';

/** Findings at the values that name a layer or release, in the order of the declaration's keys. */
export function checkReferences({ image, sources }: ParsedSpec, catalog: Catalog): Finding[] {
  const findings: Finding[] = [];
  const requireName = (
    what: string,
    name: string,
    known: readonly string[],
    path: readonly (string | number)[],
  ): void => {
    if (!known.includes(name)) findings.push(unknownName(what, name, known, sources.at(path)));
  };
  const namesOf = (kind: LayerKind): string[] =>
    catalog.layers
      .filter(({ definition }) => definition.kind === kind)
      .map(({ definition }) => definition.name);

  const onImage = image.base.image !== undefined;
  if (onImage) findings.push(...refusedOnImage(image, sources));
  else requireName('base', image.base.name, namesOf('base'), ['base', 'name']);
  const releases = catalog.find('base', image.base.name)?.definition.releases;
  if (releases !== undefined) {
    const what = `release of ${image.base.name}`;
    requireName(what, image.base.release, Object.keys(releases), ['base', 'release']);
  }
  if (!onImage) {
    const known = [ANY_KERNEL, ...namesOf('kernel')];
    requireName('kernel', image.kernel.flavour, known, ['kernel', 'flavour']);
  }
  if (image.agent !== undefined) requireName('agent', image.agent, namesOf('agent'), ['agent']);
  image.addons.forEach((addon, index) => {
    requireName('addon', addon, namesOf('addon'), ['addons', index]);
  });

  const isKnownRelease = releases !== undefined && Object.hasOwn(releases, image.base.release);
  for (const { path, message, suggestions } of isKnownRelease ? choose(image, catalog).problems : []) {
    findings.push({
      code: 'SPEC_INVALID',
      severity: 'error',
      message,
      location: sources.at(path),
      ...(suggestions.length > 0 && { suggestions }),
    });
  }

  const takesKeys = image.addons.includes('ssh') || image.packages.includes('openssh-server');
  const user = image.users.findIndex(({ sshKeys }) => sshKeys.length > 0);
  if (user >= 0 && !takesKeys) {
    findings.push({
      code: 'SPEC_INVALID',
      severity: 'warning',
      message: 'SSH keys are declared, but nothing in the image takes them: add the addon ssh',
      location: sources.keyAt(['users', user, 'sshKeys']),
    });
  }
  return findings;
}

/** What is known of drivers and kernels is known for the distributions of the catalogue, and of no other image. */
const NOT_ON_IMAGES = ['gpus', 'driver', 'cuda', 'runtimes', 'agent'] as const;

function refusedOnImage(image: NodeImage, sources: ParsedSpec['sources']): Finding[] {
  const { image: reference = '' } = image.base;
  const findings: Finding[] = [];
  if (!/^oci(?:-archive)?:/.test(reference)) {
    try {
      parseImageReference(reference);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      const location = sources.at(['base', 'image']);
      findings.push({ code: 'SPEC_INVALID', severity: 'error', message: error.message, location });
    }
  }
  const keys: string[] = NOT_ON_IMAGES.filter((key) => image[key] !== undefined);
  if (image.kernel.flavour !== OWN_KERNEL) keys.push('kernel');
  return [
    ...findings,
    ...keys.map((key) => ({
      code: 'SPEC_INVALID' as const,
      severity: 'error' as const,
      message: `${key} cannot be chosen on a base that is an image: what it brings itself is kept`,
      location: sources.keyAt([key]),
    })),
  ];
}
