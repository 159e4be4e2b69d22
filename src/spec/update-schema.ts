/**
 * Where a node's next image comes from and who must have signed it: `update` of a declaration, as a person writes it
 * and as the image holds it.
 */
import * as z from 'zod';

import type { Finding, Location } from '../errors.ts';
import { parseUpdateWindow, windowLength } from './update-window.ts';

/** Parts of references, as the distribution project has them. */
export const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
export const HOST =
  '(?:localhost|[a-z0-9-]+(?:\\.[a-z0-9-]+)+|[a-z0-9.-]+:[0-9]{1,5}|\\[[0-9a-f:]+\\](?::[0-9]{1,5})?)';

export const Repository = z
  .string()
  .regex(new RegExp(`^${HOST}(?:/${COMPONENT})+$`), 'a repository, such as registry.example.com/ai/node');

/** A repository, or all below a place: by whole parts of the path, never by part of a name. */
export const RepositoryPattern = z
  .string()
  .regex(
    new RegExp(`^${HOST}(?:/${COMPONENT})*(?:/\\*|(?<=/[^/]+))$`),
    'a repository, such as registry.example.com/ai/node, or all below a place, such as registry.example.com/ai/*',
  );

const Source = z
  .string()
  .regex(
    new RegExp(`^${HOST}(?:/${COMPONENT})+:\\w[\\w.-]{0,127}$`),
    'a tag in a repository, such as registry.example.com/ai/node:stable',
  );

const Key = z.string().min(1);

const Identity = z
  .strictObject({
    issuer: z
      .string()
      .min(1)
      .describe('Who vouched for it, such as https://token.actions.githubusercontent.com.'),
    subject: z.string().min(1).optional().describe('Who signed: an email address, or the URI of a workflow.'),
    subjectRegexp: z
      .string()
      .min(1)
      .refine(isRegExp, 'is no regular expression')
      .optional()
      .describe('Instead of it: a regular expression for the whole of the subject.'),
  })
  .refine(
    ({ subject, subjectRegexp }) => (subject === undefined) !== (subjectRegexp === undefined),
    'must have either `subject` or `subjectRegexp`',
  );
export type IdentityInput = z.infer<typeof Identity>;

export function isRegExp(text: string): boolean {
  try {
    return new RegExp(`^(?:${text})$`, 'u').source !== '';
  } catch {
    return false;
  }
}

/** Who may sign, as rules and `verify` have it. */
export const signerKeys = {
  keys: z
    .array(Key)
    .min(1)
    .optional()
    .describe(
      'Public keys, one of which must have signed: paths from the folder of this file, or PEM. Several while one key takes the place of another.',
    ),
  identities: z
    .array(Identity)
    .min(1)
    .optional()
    .describe('Who may sign without a key, through Sigstore. One of them, or of the keys, must have signed.'),
  trustedRoot: z
    .string()
    .min(1)
    .optional()
    .describe('For identities: the authorities and logs, a file as `cosign trusted-root create` writes.'),
};

interface Signers {
  readonly keys?: unknown;
  readonly identities?: unknown;
  readonly trustedRoot?: unknown;
}

export function requireSigners(rule: Signers, context: z.RefinementCtx): void {
  const complain = (message: string): void => {
    context.addIssue({ code: 'custom', message });
  };
  if (rule.keys === undefined && rule.identities === undefined) {
    complain('must have `keys` or `identities`, which say who must have signed');
  }
  if ((rule.identities === undefined) !== (rule.trustedRoot === undefined)) {
    complain('must have `identities` and `trustedRoot` together: a certificate is checked against one');
  }
}

const Window = z
  .string()
  .refine(
    (text) => parseUpdateWindow(text) !== undefined,
    'must be days and times, such as "Sat,Sun 02:00-04:00", "Mon..Fri 22:00-02:00" or "03:00-05:00"',
  );

const RandomDelay = z.string().regex(/^(?:0|[1-9]\d{0,4}[smh])$/, 'a time such as 30m, 1h or 0');

/** Of `1h`, `30m`, `90s` or `0`. */
export function delaySeconds(text: string): number {
  const unit = { s: 1, m: 60, h: 3600 }[text.slice(-1)] ?? 1;
  return Number.parseInt(text, 10) * unit;
}

const DEFAULT_DELAY = '15m';

const Unattended = z
  .strictObject({
    window: z
      .union([Window, z.array(Window).min(1)])
      .describe('When the node may restart, by its own clock, such as `Sat,Sun 02:00-04:00`; or several.'),
    randomDelay: RandomDelay.optional().describe(
      'Up to so much later, by chance, so that nodes do not all come at once. Default: 15m.',
    ),
    download: z
      .enum(['ahead', 'window'])
      .optional()
      .describe('Pull what is new before the window opens, or only in it. Default: ahead.'),
    apply: z
      .enum(['restart', 'stage'])
      .optional()
      .describe(
        'Restart into it in the window, or only let it start with the next restart, whoever asks for that. Default: restart.',
      ),
    channel: z
      .string()
      .regex(/^\w[\w.-]{0,127}$/, 'a tag, such as stable')
      .optional()
      .describe('Tag to follow, of the repository that the node follows. Default: the one that it follows.'),
  })
  .refine(
    ({ window, randomDelay = DEFAULT_DELAY }) =>
      [window].flat().every((text) => {
        const parsed = parseUpdateWindow(text);
        return parsed === undefined || delaySeconds(randomDelay) < windowLength(parsed) * 60;
      }),
    { path: ['randomDelay'], error: 'must be shorter than every window: a node may come when it has closed' },
  );

/** Updates that the node makes by itself, as its image says. */
export const UnattendedUpdates = z.object({
  window: z.array(Window).min(1),
  randomDelaySeconds: z.number(),
  download: z.enum(['ahead', 'window']),
  apply: z.enum(['restart', 'stage']),
  channel: z.string().optional(),
});
export type UnattendedUpdates = z.infer<typeof UnattendedUpdates>;

export function normaliseUnattended(input: z.infer<typeof Unattended>): UnattendedUpdates {
  const { window, randomDelay = DEFAULT_DELAY, download = 'ahead', apply = 'restart', channel } = input;
  return {
    window: [window].flat(),
    randomDelaySeconds: delaySeconds(randomDelay),
    download,
    apply,
    ...(channel !== undefined && { channel }),
  };
}

export const UpdateInput = z.strictObject({
  source: Source.describe('Tag that nodes take their next image from.'),
  verify: z
    .strictObject({
      key: Key.optional().describe(
        'Public key that must have signed the next image: a path from the folder of this file, or PEM.',
      ),
      ...signerKeys,
      signedAs: Repository.optional().describe(
        'Repository that the signatures name. Default: that of `source`. For mirrors.',
      ),
      attestations: z
        .array(z.string().min(1))
        .optional()
        .describe('What must be attested besides: predicate types, or cosign’s names for them.'),
    })
    .superRefine(({ key, ...rule }, context) => {
      if (key !== undefined && rule.keys !== undefined) {
        context.addIssue({ code: 'custom', message: 'must have either `key` or `keys`, not both' });
      }
      requireSigners({ ...rule, keys: key ?? rule.keys }, context);
    })
    .optional()
    .describe('Who must have signed it. Default: as the project’s `trust.yaml` says.'),
  tries: z
    .int()
    .min(1)
    .max(9)
    .optional()
    .describe(
      'How often a node starts an update that does not pass its checks before it goes back. Power losses take some of them. Default: 3.',
    ),
  signer: Key.optional().describe(
    'Public key of who signs the next image, to check that this one would take it. Default: all that `trust.yaml` lets sign.',
  ),
  unattended: Unattended.optional().describe('The node updates by itself. Default: somebody does it.'),
});
export type UpdateInput = z.infer<typeof UpdateInput>;

export const UPDATE_PATH = '/usr/lib/ingot/update.json';
export const TRUST_FOLDER = '/usr/lib/ingot/trust';
export const CONTAINERS_POLICY_PATH = '/etc/containers/policy.json';
export const ATTACHMENTS_PATH = '/etc/containers/registries.d/50-ingot.yaml';

/** Paths that `update` fills, and folders of such. */
export const UPDATE_SERVICE = 'ingot-update.service';
export const UPDATE_TIMER = 'ingot-update.timer';
export const UNIT_FOLDER = '/usr/lib/systemd/system';

export const POLICY_PATHS = [
  ...[CONTAINERS_POLICY_PATH, ATTACHMENTS_PATH, UPDATE_PATH, TRUST_FOLDER],
  ...[UPDATE_SERVICE, UPDATE_TIMER].map((name) => `${UNIT_FOLDER}/${name}`),
];

/** Whose certificates count. A regular expression is for the whole subject. */
export type TrustedIdentity =
  | { readonly issuer: string; readonly subject: string }
  | { readonly issuer: string; readonly subjectRegexp: string };

/** What the image takes from a repository. */
export type HostRule =
  | 'accept'
  | 'reject'
  | {
      /** Public keys in PEM; one of them, or of the identities, must have signed. */
      readonly keys: readonly string[];
      readonly identities?: readonly TrustedIdentity[];
      /** For identities: the file's text. */
      readonly trustedRoot?: string;
      /** `HOST/PATH` that signatures name instead of the image's own. */
      readonly signedAs?: string;
      /** Predicate types. */
      readonly attestations?: readonly string[];
    };

/** What an image takes from where: whole, so that no file is needed beside it. */
export interface HostPolicy {
  /** For repositories without a rule. */
  readonly default: 'accept' | 'reject';
  /** By repository, or by `HOST/PATH/*` for all below. */
  readonly repositories: Readonly<Record<string, HostRule>>;
}

export interface UpdateSource {
  /** `HOST/PATH:TAG`. */
  readonly source: string;
  /** Starts that an update has to pass its checks; GRUB counts them. Undefined: 3. */
  readonly tries?: number;
  /** Undefined: nothing says who must have signed, and the image has the policy that its packages bring. */
  readonly policy?: HostPolicy;
  /** Undefined: somebody updates the node. */
  readonly unattended?: UnattendedUpdates;
}

/** Who takes the next image on a node: Ingot's agent, or what else the image brings. */
export type Updater = 'agent' | 'others';

/**
 * Makes the policy of an image out of `update`, the key files that it names and the project's `trust.yaml`.
 *
 * @param at place of a value below `update`
 */
export type PolicyReader = (
  update: UpdateInput,
  at: (path: readonly (string | number)[]) => Location,
  updater: Updater,
) => Promise<{ readonly policy?: HostPolicy; readonly findings: readonly Finding[] }>;
