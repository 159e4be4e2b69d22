/** NodeImage × catalogue → what it names that is not there. Pure. */
import type { Catalog, LayerKind } from '../catalog/layer.ts';
import type { Finding } from '../errors.ts';
import { unknownName } from '../spec/check-names.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
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

  requireName('base', image.base.name, namesOf('base'), ['base', 'name']);
  const releases = catalog.find('base', image.base.name)?.definition.releases;
  if (releases !== undefined) {
    const what = `release of ${image.base.name}`;
    requireName(what, image.base.release, Object.keys(releases), ['base', 'release']);
  }
  requireName('kernel', image.kernel.flavour, namesOf('kernel'), ['kernel', 'flavour']);
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
