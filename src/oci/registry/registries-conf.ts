/** Mirrors of registries: containers-registries.conf(5), version 2. Parsing and choosing are pure. */
import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import * as z from 'zod';

import { errnoOf, IngotError } from '../../errors.ts';
import type { ImageReference } from '../reference.ts';
import type { Environment } from './credentials.ts';

const PullFrom = z.enum(['all', 'digest-only', 'tag-only']);
const Mirror = z.object({
  location: z.string(),
  insecure: z.boolean().default(false),
  'pull-from-mirror': PullFrom.default('all'),
});
const Registry = z.object({
  prefix: z.string().optional(),
  location: z.string().optional(),
  insecure: z.boolean().default(false),
  blocked: z.boolean().default(false),
  'mirror-by-digest-only': z.boolean().default(false),
  mirror: z.array(Mirror).default([]),
});
const RegistriesFile = z.object({ registry: z.array(Registry).default([]) });
export type RegistriesConf = z.infer<typeof RegistriesFile>['registry'];

/** A repository at the place where it is asked for. */
export interface Endpoint {
  readonly registry: string;
  readonly repository: string;
  readonly insecure: boolean;
  readonly isMirror: boolean;
}

/** @throws IngotError ENVIRONMENT, naming the file and what is wrong */
export function parseRegistriesConf(text: string, path: string): RegistriesConf {
  try {
    return RegistriesFile.parse(parse(text)).registry;
  } catch (error) {
    const why =
      error instanceof z.ZodError
        ? error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')
        : error instanceof Error
          ? (error.message.split('\n')[0] ?? '')
          : '';
    throw new IngotError('ENVIRONMENT', `${path} cannot be read as registries.conf: ${why}`, {
      hint: 'see containers-registries.conf(5), version 2',
      cause: error,
    });
  }
}

/**
 * Where to ask for an image, the registry itself last.
 *
 * @throws IngotError REGISTRY_DENIED when the configuration blocks it
 */
export function endpointsFor(conf: RegistriesConf, reference: ImageReference): readonly Endpoint[] {
  const name = `${reference.registry}/${reference.repository}`;
  let chosen: { readonly entry: RegistriesConf[number]; readonly matched: string } | undefined;
  for (const entry of conf) {
    const matched = matchedPrefix(prefixOf(entry), reference, name);
    // The longest as it is written: `*.example.com` counts for less than a host of it.
    if (
      matched !== undefined &&
      prefixOf(entry).length > (chosen === undefined ? 0 : prefixOf(chosen.entry).length)
    )
      chosen = { entry, matched };
  }
  if (chosen === undefined) return [{ ...split(name), insecure: false, isMirror: false }];
  const { entry, matched } = chosen;
  if (entry.blocked) {
    throw new IngotError('REGISTRY_DENIED', `registries.conf blocks ${matched}`, {
      hint: 'remove `blocked = true` to use it',
    });
  }
  const rest = name.slice(matched.length);
  const byDigest = reference.digest !== undefined;
  const mirrors = entry.mirror
    .filter((mirror) => {
      const mode = entry['mirror-by-digest-only'] ? 'digest-only' : mirror['pull-from-mirror'];
      return mode === 'all' || (mode === 'digest-only') === byDigest;
    })
    .map((mirror) => ({ ...split(mirror.location + rest), insecure: mirror.insecure, isMirror: true }));
  const isWildcard = entry.prefix?.startsWith('*.') === true && entry.location === undefined;
  const location = isWildcard ? matched : (entry.location ?? matched);
  return [...mirrors, { ...split(location + rest), insecure: entry.insecure, isMirror: false }];
}

/** Of CONTAINERS_REGISTRIES_CONF, or the user's or else the system's file, with the system's drop-ins. */
export async function loadRegistriesConf(env: Environment): Promise<RegistriesConf> {
  const given = env['CONTAINERS_REGISTRIES_CONF'];
  if (given !== undefined && given !== '')
    return parseRegistriesConf((await readIfThere(given)) ?? '', given);
  const config = env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config');
  const user = join(config, 'containers/registries.conf');
  const system = '/etc/containers/registries.conf';
  const userText = await readIfThere(user);
  const main = userText === undefined ? system : user;
  const files: { readonly path: string; readonly text: string }[] = [];
  const mainText = userText ?? (await readIfThere(system));
  if (mainText !== undefined) files.push({ path: main, text: mainText });
  for (const folder of ['/etc/containers/registries.conf.d', join(config, 'containers/registries.conf.d')]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.filter((one) => one.endsWith('.conf')).sort()) {
      const path = join(folder, name);
      const dropIn = await readIfThere(path);
      if (dropIn !== undefined) files.push({ path, text: dropIn });
    }
  }
  // An entry takes the place of an earlier one for the same prefix (containers-registries.conf.d(5)).
  const entries = new Map<string, RegistriesConf[number]>();
  for (const { path, text } of files) {
    for (const entry of parseRegistriesConf(text, path)) entries.set(prefixOf(entry), entry);
  }
  return [...entries.values()];
}

function prefixOf(entry: RegistriesConf[number]): string {
  return entry.prefix ?? entry.location ?? '';
}

function matchedPrefix(prefix: string, reference: ImageReference, name: string): string | undefined {
  if (prefix.startsWith('*.')) {
    return reference.registry.endsWith(prefix.slice(1)) ? reference.registry : undefined;
  }
  const bounded = name === prefix || (name.startsWith(prefix) && /[/:@]/.test(name.charAt(prefix.length)));
  return prefix !== '' && bounded ? prefix : undefined;
}

function split(name: string): { readonly registry: string; readonly repository: string } {
  const slash = name.indexOf('/');
  return { registry: name.slice(0, Math.max(slash, 0)), repository: name.slice(slash + 1) };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw new IngotError('ENVIRONMENT', `${path} cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  }
}
