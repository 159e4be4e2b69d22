/**
 * References to images in registries: `host[:port]/path[:tag][@digest]`, by the grammar of the distribution project
 * (reference/regexp.go). Pure.
 *
 * The registry is always named: what `debian` alone would mean differs from machine to machine.
 */
import { type Digest, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';

export interface ImageReference {
  /** `host` or `host:port`, as written, in lower case. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?$`);
const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
/** distribution bounds host and path together. */
const MAX_NAME = 255;
/** Where the images called docker.io/… are served. */
const DOCKER_HUB = 'docker.io';

/** @throws IngotError USAGE, saying which part is wrong. A leading `docker://` is allowed, as in skopeo. */
export function parseImageReference(text: string): ImageReference {
  const wrong = (what: string, hint?: string): IngotError =>
    new IngotError('USAGE', `${JSON.stringify(text)} names no image in a registry: ${what}`, {
      hint: hint ?? 'write HOST/PATH:TAG, such as registry.example.com/ai/node:1.0',
    });
  let rest = text.startsWith('docker://') ? text.slice('docker://'.length) : text;
  const at = rest.indexOf('@');
  const digest = at === -1 ? undefined : rest.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) throw wrong('after @ belongs sha256: and 64 hex digits');
  if (at !== -1) rest = rest.slice(0, at);
  const slash = rest.indexOf('/');
  const registry = rest.slice(0, Math.max(slash, 0)).toLowerCase();
  if (!isHost(registry)) {
    throw wrong(
      'it does not begin with a registry',
      `name the registry, as in ${DOCKER_HUB}/library/debian:13 or localhost:5000/node:1.0`,
    );
  }
  if (Number(/:(\d+)$/.exec(registry)?.[1] ?? 1) > 65_535) throw wrong('there is no such port');
  rest = rest.slice(slash + 1);
  const colon = rest.indexOf(':');
  const tag = colon === -1 ? undefined : rest.slice(colon + 1);
  if (tag !== undefined && !isTag(tag)) throw wrong(`${JSON.stringify(tag)} is no tag`);
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const repository = registry === DOCKER_HUB && !path.includes('/') ? `library/${path}` : path;
  if (!REPOSITORY.test(repository)) {
    throw wrong(`${JSON.stringify(path)} is no path: lower-case letters, digits and single . _ - between /`);
  }
  if (registry.length + 1 + repository.length > MAX_NAME)
    throw wrong(`it has more than ${MAX_NAME} characters`);
  return { registry, repository, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

/** The inverse of `parseImageReference`. */
export function renderImageReference({ registry, repository, tag, digest }: ImageReference): string {
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** As Docker decides it: a dot, a port, `localhost`; everything else is the first part of a path. */
function isHost(text: string): boolean {
  return HOST.test(text) && (/[.:]/.test(text) || text === 'localhost');
}
