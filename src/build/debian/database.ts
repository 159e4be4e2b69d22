/**
 * The dpkg database of a stack of layers: the base's, which is configured, and those of layers that were each
 * unpacked over the base on their own. Merging is by package; what two layers say differently is an error that
 * names both. File formats: dpkg's `lib/dpkg` (status, diversions, statoverride, triggers).
 */
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { RootFs } from '../root-fs.ts';

/** Where the database is in an image; /var/lib/dpkg is a link to it. */
export const DATABASE = '/usr/lib/sysimage/dpkg';

export interface DpkgDatabase {
  /** Name of the layer, for messages. */
  readonly layer: string;
  readonly status: string;
  readonly diversions: string;
  readonly statoverride: string;
  /** Files of `triggers/` but `Lock`; key: file name. */
  readonly triggers: ReadonlyMap<string, string>;
}

/** Reads the database of a tree; parts that a layer did not touch are empty. */
export async function loadDatabase(fs: RootFs, layer: string): Promise<DpkgDatabase> {
  const text = async (name: string): Promise<string> =>
    (await fs.readTextIfPresent(join(DATABASE, name))) ?? '';
  const triggers = new Map<string, string>();
  for (const name of await fs.list(join(DATABASE, 'triggers'))) {
    if (name !== 'Lock') triggers.set(name, await text(`triggers/${name}`));
  }
  return {
    layer,
    status: await text('status'),
    diversions: await text('diversions'),
    statoverride: await text('statoverride'),
    triggers,
  };
}

export async function writeDatabase(fs: RootFs, database: DpkgDatabase): Promise<void> {
  await fs.writeFile(join(DATABASE, 'status'), database.status);
  await fs.writeFile(join(DATABASE, 'diversions'), database.diversions);
  await fs.writeFile(join(DATABASE, 'statoverride'), database.statoverride);
  await fs.makeDirectory(join(DATABASE, 'updates'));
  for (const [name, content] of database.triggers) {
    await fs.writeFile(join(DATABASE, 'triggers', name), content);
  }
}

/**
 * Merges layers, lowest first, onto the base.
 *
 * @throws IngotError LAYER_CONFLICT when a layer changes or removes a package of the base, two layers bring
 *   different versions of one package, or divert one path to different places.
 */
export function mergeDatabases(base: DpkgDatabase, layers: readonly DpkgDatabase[]): DpkgDatabase {
  return {
    layer: 'seal',
    status: mergeStatus(base, layers),
    diversions: mergeDiversions([base, ...layers]),
    statoverride: mergeStatOverrides([base, ...layers]),
    triggers: mergeTriggers([base, ...layers]),
  };
}

interface Stanza {
  readonly key: string;
  readonly version: string;
  readonly text: string;
  readonly layer: string;
}

const field = (stanza: string, name: string): string =>
  new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';

function stanzasOf(database: DpkgDatabase): Stanza[] {
  return database.status
    .split(/\n{2,}/)
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => ({
      key: `${field(text, 'Package')}:${field(text, 'Architecture')}`,
      version: field(text, 'Version'),
      text,
      layer: database.layer,
    }));
}

function mergeStatus(base: DpkgDatabase, layers: readonly DpkgDatabase[]): string {
  const baseStanzas = new Map(stanzasOf(base).map((stanza) => [stanza.key, stanza]));
  const merged = new Map(baseStanzas);
  for (const layer of layers) {
    if (layer.status === '') continue; // the layer installs no package
    const stanzas = stanzasOf(layer);
    const present = new Set(stanzas.map((stanza) => stanza.key));
    for (const key of baseStanzas.keys()) {
      if (!present.has(key)) throw conflict(`layer ${layer.layer} removes ${key}, which is in the base`);
    }
    for (const stanza of stanzas) {
      const inBase = baseStanzas.get(stanza.key);
      const earlier = merged.get(stanza.key);
      if (inBase !== undefined) {
        if (inBase.version !== stanza.version) {
          throw conflict(
            `layer ${layer.layer} changes ${stanza.key} of the base from ${inBase.version} to ${stanza.version}`,
          );
        }
        merged.set(stanza.key, withTriggers(merged.get(stanza.key) ?? inBase, stanza));
      } else if (earlier !== undefined && earlier.version !== stanza.version) {
        throw conflict(
          `${stanza.key} is ${earlier.version} in layer ${earlier.layer} and ${stanza.version} in layer ${layer.layer}`,
        );
      } else if (earlier === undefined) {
        merged.set(stanza.key, stanza);
      }
    }
  }
  return [...merged.entries()]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([, stanza]) => `${stanza.text}\n`)
    .join('\n');
}

/** A base package's stanza with the triggers that a layer's unpacking has left pending for it. */
function withTriggers(stanza: Stanza, fromLayer: Stanza): Stanza {
  const pending = field(fromLayer.text, 'Triggers-Pending').split(' ').filter(Boolean);
  if (pending.length === 0) return stanza;
  const all = [...new Set([...field(stanza.text, 'Triggers-Pending').split(' ').filter(Boolean), ...pending])];
  const text = stanza.text
    .split('\n')
    .filter((line) => !line.startsWith('Triggers-Pending:'))
    .map((line) => (line.startsWith('Status:') ? 'Status: install ok triggers-pending' : line))
    .join('\n');
  return { ...stanza, text: `${text}\nTriggers-Pending: ${all.sort().join(' ')}` };
}

/** Records of three lines: original path, diverted path, package. */
function mergeDiversions(databases: readonly DpkgDatabase[]): string {
  const seen = new Map<string, { readonly to: string; readonly by: string; readonly layer: string }>();
  for (const { diversions, layer } of databases) {
    const lines = diversions.split('\n').filter((line) => line !== '');
    for (let index = 0; index + 2 < lines.length; index += 3) {
      const [from, to, by] = lines.slice(index, index + 3) as [string, string, string];
      const earlier = seen.get(from);
      if (earlier !== undefined && (earlier.to !== to || earlier.by !== by)) {
        throw conflict(`layers ${earlier.layer} and ${layer} divert ${from} to different places`);
      }
      seen.set(from, earlier ?? { to, by, layer });
    }
  }
  return [...seen].map(([from, { to, by }]) => `${from}\n${to}\n${by}\n`).join('');
}

/** One line each: user, group, mode, path. */
function mergeStatOverrides(databases: readonly DpkgDatabase[]): string {
  const seen = new Map<string, { readonly line: string; readonly layer: string }>();
  for (const { statoverride, layer } of databases) {
    for (const line of statoverride.split('\n').filter((text) => text !== '')) {
      const path = line.split(' ').slice(3).join(' ');
      const earlier = seen.get(path);
      if (earlier !== undefined && earlier.line !== line) {
        throw conflict(`layers ${earlier.layer} and ${layer} give ${path} different owners or modes`);
      }
      seen.set(path, earlier ?? { line, layer });
    }
  }
  return [...seen.values()].map(({ line }) => `${line}\n`).join('');
}

/** `Unincorp` lists packages per trigger; every other file is a set of lines. */
function mergeTriggers(databases: readonly DpkgDatabase[]): Map<string, string> {
  const lines = new Map<string, Set<string>>();
  const waiting = new Map<string, Set<string>>();
  for (const { triggers } of databases) {
    for (const [name, content] of triggers) {
      for (const line of content.split('\n').filter((text) => text !== '')) {
        if (name === 'Unincorp') {
          const [trigger = '', ...packages] = line.split(' ');
          waiting.set(trigger, (waiting.get(trigger) ?? new Set()).union(new Set(packages)));
        } else {
          lines.set(name, (lines.get(name) ?? new Set()).add(line));
        }
      }
    }
  }
  const merged = new Map<string, string>();
  for (const [name, set] of lines) merged.set(name, [...set].map((line) => `${line}\n`).join(''));
  const unincorporated = [...waiting].map(([trigger, packages]) => `${trigger} ${[...packages].join(' ')}\n`);
  merged.set('Unincorp', unincorporated.sort().join(''));
  return merged;
}

function conflict(message: string): IngotError {
  return new IngotError('LAYER_CONFLICT', message, {
    hint: 'every package belongs to one layer, in one version: `ingot lock` decides which',
  });
}
