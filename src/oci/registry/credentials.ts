/**
 * Credentials for registries, from the files that `podman login`, `skopeo login` and `docker login` write
 * (containers-auth.json(5)) and from credential helpers. They are kept in memory only, and stand in no message.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';

import { errnoOf, IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import { credentialHelperArgv, parseCredentialHelper, saysNotFound } from '../../tools/docker-credential.ts';

export interface Credentials {
  readonly username: string;
  /** A password, or with `isIdentityToken` a token that gets others. */
  readonly secret: string;
  readonly isIdentityToken: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const AuthEntry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
});
const AuthFile = z.object({
  auths: z.record(z.string(), AuthEntry).optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
export type AuthFile = z.infer<typeof AuthFile>;

/** Finds credentials for a repository, `host[:port]` and path apart. */
export type FindCredentials = (
  registry: string,
  repository: string,
  signal?: AbortSignal,
) => Promise<Credentials | undefined>;

/** What Docker calls its own registry in its files. */
const DOCKER_HUB_KEYS = ['index.docker.io', 'registry-1.docker.io', 'docker.io'];

/** Files are read when the first credentials are asked for. */
export function credentialsFrom(env: Environment): FindCredentials {
  let files: Promise<readonly AuthFile[]> | undefined;
  const answers = new Map<string, Promise<Credentials | undefined>>();
  return async (registry, repository, signal) => {
    const key = `${registry}/${repository}`;
    const known = answers.get(key);
    if (known !== undefined) return known;
    files ??= loadAuthFiles(env);
    const answer = files.then((loaded) => findIn(loaded, registry, repository, env, signal));
    answers.set(key, answer);
    return answer;
  };
}

/** The files there are, the one that counts first. @throws IngotError ENVIRONMENT */
export async function loadAuthFiles(env: Environment): Promise<readonly AuthFile[]> {
  const home = env['HOME'] ?? homedir();
  const given = env['REGISTRY_AUTH_FILE'];
  const runtime = env['XDG_RUNTIME_DIR'];
  const paths =
    given !== undefined && given !== ''
      ? [given]
      : [
          // Without a session, as of cron or CI, it is where the login tools write.
          runtime === undefined || runtime === ''
            ? `/run/containers/${process.getuid?.() ?? 0}/auth.json`
            : join(runtime, 'containers/auth.json'),
          join(env['XDG_CONFIG_HOME'] ?? join(home, '.config'), 'containers/auth.json'),
          join(env['DOCKER_CONFIG'] ?? join(home, '.docker'), 'config.json'),
        ];
  const files: AuthFile[] = [];
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw new IngotError('ENVIRONMENT', `${path} cannot be read (${errnoOf(error) ?? 'error'})`, {
        hint: 'it holds the credentials for registries; set REGISTRY_AUTH_FILE to another file',
      });
    });
    if (text !== undefined) files.push(parseAuthFile(text, path));
  }
  return files;
}

/** Nothing of the text is repeated in an error: it holds secrets. @throws IngotError ENVIRONMENT */
export function parseAuthFile(text: string, path: string): AuthFile {
  try {
    return AuthFile.parse(JSON.parse(text));
  } catch {
    throw new IngotError('ENVIRONMENT', `${path} is no file of credentials for registries`, {
      hint: '`skopeo login HOST` writes one; REGISTRY_AUTH_FILE names another',
    });
  }
}

/** The entry of a file that is closest to the repository: `host/a/b`, `host/a`, `host`. */
export function entryFor(
  file: AuthFile,
  registry: string,
  repository: string,
): z.infer<typeof AuthEntry> | undefined {
  const entries = new Map(Object.entries(file.auths ?? {}).map(([key, entry]) => [normaliseKey(key), entry]));
  const parts = repository.split('/');
  for (const host of hostKeys(registry)) {
    for (let count = parts.length; count >= 0; count -= 1) {
      const entry = entries.get([host, ...parts.slice(0, count)].join('/'));
      if (entry !== undefined) return entry;
    }
  }
  return undefined;
}

async function findIn(
  files: readonly AuthFile[],
  registry: string,
  repository: string,
  env: Environment,
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  for (const file of files) {
    const helper = hostKeys(registry)
      .map((host) => file.credHelpers?.[host])
      .find((name) => name !== undefined);
    const found =
      helper === undefined
        ? (fromEntry(entryFor(file, registry, repository)) ??
          (file.credsStore === undefined
            ? undefined
            : await askHelper(file.credsStore, registry, env, signal)))
        : await askHelper(helper, registry, env, signal);
    if (found !== undefined) return found;
  }
  return undefined;
}

function fromEntry(entry: z.infer<typeof AuthEntry> | undefined): Credentials | undefined {
  if (entry === undefined) return undefined;
  const plain = entry.auth === undefined ? undefined : Buffer.from(entry.auth, 'base64').toString('utf8');
  const colon = plain?.indexOf(':') ?? -1;
  const username =
    entry.username ?? (plain === undefined || colon === -1 ? undefined : plain.slice(0, colon));
  if (entry.identitytoken !== undefined && entry.identitytoken !== '') {
    return { username: username ?? '<token>', secret: entry.identitytoken, isIdentityToken: true };
  }
  const password =
    entry.password ?? (plain === undefined || colon === -1 ? undefined : plain.slice(colon + 1));
  if (username === undefined || password === undefined) return undefined;
  // Docker pads the field with zeros.
  return { username, secret: password.replace(/\0+$/, ''), isIdentityToken: false };
}

async function askHelper(
  name: string,
  registry: string,
  env: Environment,
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  const argv = credentialHelperArgv(name);
  if (argv === undefined) {
    throw new IngotError('ENVIRONMENT', `${JSON.stringify(name)} cannot be the name of a credential helper`);
  }
  const server = DOCKER_HUB_KEYS.includes(registry) ? 'https://index.docker.io/v1/' : registry;
  const passed = Object.fromEntries(
    Object.entries(env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
  const { stdout, exitCode } = await run(argv, {
    stdin: `${server}\n`,
    // Helpers find their keys through the user's environment.
    env: passed,
    okExitCodes: Array.from({ length: 256 }, (_, code) => code),
    timeoutMs: 60_000,
    signal,
  });
  const answer = exitCode === 0 ? parseCredentialHelper(stdout) : undefined;
  if (answer !== undefined) {
    const isIdentityToken = answer.Username === '<token>';
    return { username: answer.Username, secret: answer.Secret, isIdentityToken };
  }
  if (saysNotFound(stdout)) return undefined;
  // Its words are not repeated: they may hold the secret.
  throw new IngotError(
    'TOOL_FAILED',
    `${argv[0]} gave no credentials for ${registry} (exit code ${exitCode})`,
    {
      hint: `run \`echo ${registry} | ${argv.join(' ')}\` to see what it says`,
    },
  );
}

function hostKeys(registry: string): readonly string[] {
  return DOCKER_HUB_KEYS.includes(registry) ? DOCKER_HUB_KEYS : [registry];
}

/** `https://HOST/v1/` is an old form of `HOST`. */
function normaliseKey(key: string): string {
  return key
    .replace(/^https?:\/\//, '')
    .replace(/\/v[12]\/?$/, '')
    .replace(/\/+$/, '');
}
