/** The agent in a lock: what an image has of Ingot itself, by digest. Pure. */
import type { ProductFile } from '../catalog/layer.ts';
import { digestOfJson, type Digest } from '../digest.ts';
import type { LayerRequest } from './layers.ts';
import type { LockedAgent } from './lock.ts';

/** What a builder has of itself to put on a node. */
export interface AgentFacts {
  /** Of Ingot. */
  readonly version: string;
  /** Of Node.js. */
  readonly node: string;
  readonly files: readonly { readonly name: ProductFile; readonly digest: Digest; readonly size: number }[];
}

/** What the lock says of the image's agent; nothing for an image without. */
export function lockAgent(
  requests: readonly LayerRequest[],
  facts: AgentFacts | undefined,
): LockedAgent | undefined {
  const request = requests.find(({ kind }) => kind === 'agent');
  if (request?.definition === undefined) return undefined;
  if (facts === undefined) throw new TypeError('an image with an agent is locked with the facts of one');
  const { name, install } = request.definition.definition;
  const wanted = new Set(install.debian?.files.map(({ product }) => product));
  const files = facts.files
    .filter((file) => wanted.has(file.name))
    .map((file) => ({ name: file.name, digest: file.digest, size: file.size }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
  return { name, layer: request.name, version: facts.version, node: facts.node, files };
}

/** How the agent that a lock has differs from the one that it would have now; empty when it does not. */
export function agentChanges(
  locked: LockedAgent | undefined,
  now: LockedAgent | undefined,
): readonly string[] {
  if (locked === undefined) return now === undefined ? [] : ['it does not say what its agent is'];
  if (now === undefined) return ['it has an agent, which is not declared'];
  const changes: string[] = [];
  const claim = (what: string, has: string | undefined, wants: string | undefined): void => {
    if (has !== wants) changes.push(`its agent's ${what} is ${has ?? 'none'}, now it is ${wants ?? 'none'}`);
  };
  claim('name', locked.name, now.name);
  claim('layer', locked.layer, now.layer);
  claim('version', locked.version, now.version);
  claim('Node.js', locked.node, now.node);
  const describe = ({ digest, size }: LockedAgent['files'][number]): string =>
    `${shortened(digest)} of ${size} bytes`;
  const [old, fresh] = [locked, now].map(
    ({ files }) => new Map(files.map((file) => [file.name, describe(file)])),
  ) as [Map<string, string>, Map<string, string>];
  for (const name of new Set([...old.keys(), ...fresh.keys()])) claim(name, old.get(name), fresh.get(name));
  return changes;
}

/** Tells two agents of one version apart. */
export function buildOf({ node, files }: LockedAgent): string {
  return `Node.js ${node}, ${shortened(digestOfJson(files))}`;
}

/** Enough of a digest to tell it from another. */
export function shortened(digest: Digest): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
