/**
 * bootc 1.1 and later. Manuals: bootc(8) and its subcommands; what `status` prints has a published schema,
 * `host-v1.schema.json`. Of what bootc says we keep what a node is judged by, and pass over what is new.
 */
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

/** `v1alpha1` has the same form; hosts with bootc before 1.1 print it. */
const API_VERSIONS = ['org.containers.bootc/v1', 'org.containers.bootc/v1alpha1'] as const;

/** Left out, or null: the schema has both for the same. */
function optional<Schema extends z.ZodType>(schema: Schema) {
  return z
    .union([schema, z.null()])
    .optional()
    .transform((value) => value ?? undefined);
}

const Signature = z.union([
  z.literal('containerPolicy'),
  z.literal('insecure'),
  z.object({ ostreeRemote: z.string() }),
]);

const BootcImageReference = z.object({
  image: z.string(),
  /** `registry`, `oci`, `oci-archive`, `containers-storage`… */
  transport: z.string(),
  signature: optional(Signature),
});
export type BootcImageReference = z.infer<typeof BootcImageReference>;

const BootcImage = z.object({
  image: BootcImageReference,
  imageDigest: z.string(),
  architecture: optional(z.string()),
  version: optional(z.string()),
  /** RFC 3339. */
  timestamp: optional(z.string()),
});
export type BootcImage = z.infer<typeof BootcImage>;

const BootcEntry = z.object({
  /** None for a deployment that no image was made of. */
  image: optional(BootcImage),
  cachedUpdate: optional(BootcImage),
  /** Changed by another tool in a way that bootc leaves alone. */
  incompatible: z.boolean(),
  pinned: z.boolean(),
  /** Staged, and not to be applied when the system goes down. */
  downloadOnly: optional(z.boolean()),
  softRebootCapable: optional(z.boolean()),
  ostree: optional(
    z.object({ stateroot: z.string(), checksum: z.string(), deploySerial: z.number().int().min(0) }),
  ),
  composefs: optional(z.object({ verity: z.string() })),
});
export type BootcEntry = z.infer<typeof BootcEntry>;

const BootcHost = z.object({
  apiVersion: z.enum(API_VERSIONS),
  kind: z.literal('BootcHost'),
  spec: z.object({ image: optional(BootcImageReference), bootOrder: optional(z.string()) }),
  status: z.object({
    staged: optional(BootcEntry),
    booted: optional(BootcEntry),
    rollback: optional(BootcEntry),
    /** `rollback` starts next. */
    rollbackQueued: optional(z.boolean()),
    otherDeployments: optional(z.array(BootcEntry)),
    /** `bootcHost`, or none where the system is not bootc's. */
    type: optional(z.string()),
    readOnly: optional(z.boolean()),
    usrOverlay: optional(z.object({ accessMode: z.string(), persistence: z.string() })),
  }),
});
export type BootcHost = z.infer<typeof BootcHost>;

export const bootcStatusArgv: Argv = ['bootc', 'status', '--format=json'];

/** @throws IngotError NODE_FAILED for what is no status, or one of a version to come */
export function parseBootcStatus(text: string): BootcHost {
  try {
    return BootcHost.parse(JSON.parse(text));
  } catch (cause) {
    throw new IngotError('NODE_FAILED', 'bootc status prints what Ingot does not understand', {
      hint: `Ingot reads ${API_VERSIONS[0]}; \`bootc status --format=json\` shows what this bootc has`,
      cause,
    });
  }
}

export interface BootcUpgrade {
  /** Another tag of the image that is followed. */
  readonly tag?: string | undefined;
  readonly isDownloadOnly: boolean;
}

/** Pulls and stages what the followed name leads to now. */
export function bootcUpgradeArgv({ tag, isDownloadOnly }: BootcUpgrade): Argv {
  return [
    ...(['bootc', 'upgrade', '--quiet'] as const),
    ...(isDownloadOnly ? ['--download-only'] : []),
    ...(tag === undefined ? [] : [`--tag=${tag}`]),
  ];
}

/** Lets what was staged with `--download-only` be applied. Asks no registry. */
export const bootcApplyDownloadedArgv: Argv = ['bootc', 'upgrade', '--quiet', '--from-downloaded'];

export function bootcSwitchArgv(
  { image, transport }: Pick<BootcImageReference, 'image' | 'transport'>,
  isSignatureEnforced: boolean,
): Argv {
  return [
    ...(['bootc', 'switch', '--quiet', `--transport=${transport}`] as const),
    ...(isSignatureEnforced ? ['--enforce-container-sigpolicy'] : []),
    '--',
    image,
  ];
}

export const bootcRollbackArgv: Argv = ['bootc', 'rollback'];
export const bootcUsrOverlayArgv: Argv = ['bootc', 'usr-overlay'];
export const bootcUpgradeHelpArgv: Argv = ['bootc', 'upgrade', '--help'];

/** What `bootc upgrade` of this host can do: each came with a release of its own. */
export interface BootcAbilities {
  readonly downloadOnly: boolean;
  readonly tag: boolean;
}

/** Of `bootc upgrade --help`. */
export function parseBootcAbilities(help: string): BootcAbilities {
  const has = (option: string): boolean => new RegExp(`(?:^|\\s)--${option}(?![\\w-])`, 'm').test(help);
  return { downloadOnly: has('download-only') && has('from-downloaded'), tag: has('tag') };
}

/** Branches of layers that bootc has imported, `ostree refs --list` below this: `sha256_3A_<hex>`. */
export const BOOTC_LAYER_BRANCHES = 'ostree/container/blob';

/** Digests of layers, by `ostree refs --list ostree/container/blob`; ref names escape `:` as `_3A_`. */
export function parseBootcLayerBranches(text: string): ReadonlySet<string> {
  return new Set(
    [...text.matchAll(/(?:^|\/)sha256_3A_([0-9a-f]{64})$/gm)].map(([, hex]) => `sha256:${hex ?? ''}`),
  );
}
