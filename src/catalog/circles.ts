/** Layers that need each other: none of them could be the lower one. */
import type { Finding } from '../errors.ts';
import { locationAt } from '../spec/source-tree.ts';
import type { SourcedLayer } from './check.ts';

/** Each circle once, at the need that closes it. */
export function findCircles(layers: readonly SourcedLayer[]): Finding[] {
  const findings: Finding[] = [];
  const done = new Set<SourcedLayer>();
  const path: SourcedLayer[] = [];
  const visit = (layer: SourcedLayer): void => {
    path.push(layer);
    for (const [index, need] of layer.definition.needs.entries()) {
      for (const lower of layersFor(need, layers)) {
        const start = path.indexOf(lower);
        if (start !== -1) findings.push(describe([...path.slice(start), lower], layer, index));
        else if (!done.has(lower)) visit(lower);
      }
    }
    path.pop();
    done.add(layer);
  };
  for (const layer of layers) if (!done.has(layer)) visit(layer);
  return findings;
}

/** A need is a driver or CUDA layer that brings it, or else the addon of that name. */
function layersFor(need: string, layers: readonly SourcedLayer[]): readonly SourcedLayer[] {
  const accelerators = layers.filter(
    ({ definition: { kind, name, provides } }) =>
      (kind === 'driver' || kind === 'cuda') && (name === need || provides.includes(need)),
  );
  if (accelerators.length > 0) return accelerators;
  return layers.filter(({ definition: { kind, name } }) => kind === 'addon' && name === need);
}

function describe(circle: readonly SourcedLayer[], { source }: SourcedLayer, index: number): Finding {
  const names = circle.map(({ definition: { kind, name } }) => `${kind}/${name}`);
  return {
    code: 'CATALOG_INVALID',
    severity: 'error',
    message: `layers need each other: ${names.join(' → ')}`,
    location: locationAt(source, ['needs', index]),
  };
}
