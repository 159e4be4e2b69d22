/** The way into registries: one for a command, with its connections, credentials, certificates and mirrors. */
import { IngotError } from '../../errors.ts';
import type { Reporter } from '../../report/events.ts';
import { type ImageReference, renderImageReference } from '../reference.ts';
import { RepositoryClient } from './client.ts';
import { credentialsFrom, type Environment, type FindCredentials } from './credentials.ts';
import { HttpClient } from './http.ts';
import { endpointsFor, loadRegistriesConf, type RegistriesConf } from './registries-conf.ts';
import { RegistrySource } from './registry-source.ts';
import { RegistryTarget } from './registry-target.ts';
import { tlsFrom } from './tls.ts';

export interface RegistryAccessOptions {
  readonly env: Environment;
  /** Files of certificates to trust besides the system's. */
  readonly ca?: readonly string[];
  /** `host[:port]` of registries that are spoken to without TLS. */
  readonly insecure?: readonly string[];
  readonly reporter?: Reporter;
  /** For tests: how long silence may last, the scale of pauses, the size of upload parts. */
  readonly idleMs?: number;
  readonly pace?: number;
  readonly partBytes?: number;
}

const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'no_proxy'] as const;

export class RegistryAccess implements AsyncDisposable {
  readonly #options: RegistryAccessOptions;
  readonly #http: HttpClient;
  readonly #credentials: FindCredentials;
  readonly #conf: RegistriesConf;

  private constructor(options: RegistryAccessOptions, http: HttpClient, conf: RegistriesConf) {
    this.#options = options;
    this.#http = http;
    this.#conf = conf;
    this.#credentials = credentialsFrom(options.env);
  }

  /** @throws IngotError USAGE, ENVIRONMENT for files that cannot be used */
  static async open(options: RegistryAccessOptions): Promise<RegistryAccess> {
    for (const host of options.insecure ?? []) requireHost(host);
    const { env } = options;
    const [tlsOf, conf] = await Promise.all([
      tlsFrom({ env, ca: options.ca ?? [] }),
      loadRegistriesConf(env),
    ]);
    const http = new HttpClient({ tlsOf, proxies: proxiesIn(env), idleMs: options.idleMs });
    return new RegistryAccess(options, http, conf);
  }

  /** Without `mirrors` what is there is what the registry itself has: for who changes it. */
  source(reference: ImageReference, { mirrors = true }: { readonly mirrors?: boolean } = {}): RegistrySource {
    const [first, ...rest] = this.#clients(reference).slice(mirrors ? 0 : -1);
    if (first === undefined) throw new TypeError('a registry is its own last place');
    return new RegistrySource([first, ...rest], renderImageReference(reference));
  }

  target(reference: ImageReference): RegistryTarget {
    const client = this.#clients(reference).at(-1);
    if (client === undefined) throw new TypeError('a registry is its own last place');
    return new RegistryTarget(client, { partBytes: this.#options.partBytes });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#http[Symbol.asyncDispose]();
  }

  #clients(reference: ImageReference): readonly RepositoryClient[] {
    const { insecure = [], reporter, pace } = this.#options;
    return endpointsFor(this.#conf, reference).map(
      (endpoint) =>
        new RepositoryClient(
          { ...endpoint, insecure: endpoint.insecure || insecure.includes(endpoint.registry) },
          { http: this.#http, credentials: this.#credentials, reporter, pace },
        ),
    );
  }
}

/** As `HttpClient` takes them. */
export function proxiesIn(env: Environment): Readonly<Record<string, string>> {
  return Object.fromEntries(
    PROXY_VARIABLES.flatMap((name) => {
      const value = env[name] ?? env[name.toUpperCase()];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
}

function requireHost(host: string): void {
  if (/^[\w.-]+(?::\d+)?$|^\[[0-9a-fA-F:]+\](?::\d+)?$/.test(host)) return;
  throw new IngotError('USAGE', `--insecure ${JSON.stringify(host)} names no registry`, {
    hint: 'write HOST or HOST:PORT, as in --insecure localhost:5000',
  });
}
