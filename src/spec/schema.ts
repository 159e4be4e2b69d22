/**
 * The declaration as a person writes it, short forms included. `schema/node-image.schema.json` is generated from
 * this, so every key says what it is for.
 *
 * Messages follow `source-schema.ts`: a pattern's says what the value must be, a refinement's what is wrong.
 * What takes more than one value to see (duplicates, cross references) is in `check.ts`.
 */
import * as z from 'zod';

import { parseDigest } from '../digest.ts';
import { BoundName, BoundReference, ContainerInput } from './bound-schema.ts';
import { UpdateInput } from './update-schema.ts';

/** Names of people's and services' accounts; systemd's strict form. */
const ACCOUNT = /^[a-z_][a-z0-9_-]{0,30}$/;
/** Without quotes and spaces: it becomes part of a script. */
const LOOPBACK_ADDRESS =
  /^http:\/\/(?:127\.0\.0\.1|localhost):(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])(?:\/[!#-&(-~]*)?$/;
const MAX_PATH = 1024;
/** Lower numbers belong to packages, higher ones to the distribution. */
const FIRST_ID = 1000;
const LAST_ID = 59_999;

function text(pattern: RegExp, wanted: string): z.ZodString {
  return z.string().regex(pattern, wanted);
}

const oneLine = (wanted: string): z.ZodString => text(/^[^\p{Cc}]+$/u, wanted);

export const ImageName = text(
  /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/,
  'lower-case letters and digits, separated by single . _ or -',
).max(63);

/** What can also name the image in a layout: OCI's grammar for reference names has no `~`. */
export const ImageVersion = text(
  /^[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9])?$/,
  'letters, digits, and . _ + - between them',
);

export const UnitName = text(
  /^[\w@:.\\-]{1,200}\.(?:service|socket|target|timer|path|mount|automount|swap|slice)$/,
  'a unit name with its suffix, such as chrony.service',
);

/** Of Debian or of rpm, as the base has it: `checkDeclaration` knows which. */
export const PackageRequest = text(
  /^[A-Za-z0-9][A-Za-z0-9+._-]+(?:=(?:\d+:)?[A-Za-z0-9][A-Za-z0-9.+~^_-]*)?$/,
  'a package name, or name=version',
);

export const FileMode = text(/^0?[0-7]{3,4}$/, 'octal permission bits in quotes, such as "0644"');

/** Absolute, normalised, under /etc or /usr, and nothing that Ingot itself writes. */
export const FilePath = z
  .string()
  .max(MAX_PATH)
  .regex(/^\/(?:etc|usr)\/[^\p{Cc}]+$/u, 'an absolute path under /etc or /usr')
  .refine((path) => isNormalPath(path), 'is not a plain path: no ".", "..", "//" or "/" at the end')
  .refine(
    (path) => !isOwnPath(path),
    'is written by Ingot itself; use the key for it (users, groups, hostname)',
  )
  .refine(
    (path) => !PACKAGE_SOURCES.test(path),
    'is a package source, which no image has: packages come with the image',
  );

function isNormalPath(path: string): boolean {
  const parts = path.slice(1).split('/');
  return parts.every(
    (part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255,
  );
}

const PACKAGE_SOURCES = /^\/etc\/apt\/sources\.list(?:\.d(?:\/.*)?)?$/;

const OWN_PATHS =
  /^\/(?:etc\/(?:\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-|passwd|group|shadow|gshadow|machine-id|hostname|resolv\.conf|fstab|ssh\/ssh_host_[^/]*)|usr\/etc(?:\/.*)?|usr\/lib\/sysimage\/dpkg(?:\/.*)?|usr\/lib\/modules\/.*)$/;

function isOwnPath(path: string): boolean {
  return OWN_PATHS.test(path);
}

/** Set by Ingot when a deployment is made: the root file system and the deployment in it. */
const OWN_ARGUMENTS = new Set(['root', 'rootfstype', 'rootflags', 'ostree', 'ro', 'rw']);

export const KernelArgument = text(/^[!-~]+$/, 'one kernel argument of printable ASCII, without spaces')
  .regex(/^[^"'`\\]+$/, 'one kernel argument without quotes or backslashes')
  .refine(
    (argument) => !OWN_ARGUMENTS.has(argument.split('=', 1)[0] ?? ''),
    'is set by Ingot itself for every deployment',
  );

const LayerName = text(/^[a-z][a-z0-9.+-]*$/, 'the name of a layer: lower-case letters, digits, and . + -');

export const BaseInput = z
  .union([
    text(/^[a-z][a-z0-9.+-]*(?:@[a-z0-9.]+)?$/, 'a base and its release, such as debian@13'),
    z.strictObject({
      use: LayerName.describe('Name of a base layer.'),
      release: z
        .union([text(/^[a-z0-9.]+$/, 'a release, such as "13"'), z.int().positive()])
        .optional()
        .describe('Release of the distribution. Default: the base layer’s own.'),
    }),
    z.strictObject({
      image: oneLine('an image, such as quay.io/fedora/fedora-bootc:42 or oci:DIRECTORY:NAME').describe(
        'Image to build on: a reference in a registry, or oci:DIRECTORY:NAME from the folder of this file.',
      ),
    }),
  ])
  .describe('What the image is built on: `debian@13`, or a mapping; `image` for one from a registry.');

export const KernelInput = z
  .union([
    LayerName,
    z.strictObject({
      flavour: LayerName.optional().describe('Name of a kernel layer: `cloud`, `generic`, `lts`; or `auto`.'),
      version: text(/^\d+(?:\.\d+)*(?:[+~-][\w.+~-]*)?$/, 'a version or the start of one, such as "6.12"')
        .optional()
        .describe('Version, or the start of one. Default: the newest that fits.'),
    }),
  ])
  .describe(
    '`cloud` for virtual machines, `generic` for any hardware, `lts` for drivers that need an older one, `auto` for what fits. Default: generic.',
  );

const VersionPrefix = text(
  /^(?:auto|\d+(?:\.\d+)*)$/,
  'a version or the start of one, such as "12.4", or auto',
);

/** A name, or name@version. */
const Named = (example: string): z.ZodString =>
  text(/^[a-z][a-z0-9.+-]*(?:@(?:auto|\d[\w.+~-]*))?$/, example);

export const GpuInput = text(
  /^(?:[a-z0-9][a-z0-9.+-]*|[0-9a-f]{4}:[0-9a-f]{4})$/,
  'a GPU, such as h100-sxm, a family, such as hopper, or a PCI id, such as 10de:2330, in lower case',
);

/** As `nvidia-smi mig` lists them; the counts are those of one GPU, as in nvidia-mig-parted's `mig-devices`. */
export const MigInput = z.record(
  text(/^[1-7]g\.\d{1,3}gb$/, 'a MIG profile, such as 1g.10gb'),
  z.int().min(1).max(7),
);

export const GpuUseInput = z.union([
  GpuInput,
  z.strictObject({
    use: GpuInput.describe('A GPU, a family or a PCI id.'),
    mig: MigInput.optional().describe(
      'MIG devices that each of these GPUs is to be split into: how many of which profile.',
    ),
  }),
]);
export type GpuUseInput = z.infer<typeof GpuUseInput>;

export const DriverInput = z
  .union([
    Named('a driver and its version, such as nvidia@550, or auto'),
    z.strictObject({
      use: LayerName.describe('Name of a driver, or auto: the one that the GPUs want.'),
      version: VersionPrefix.optional().describe('Branch, version, or auto, such as "550".'),
      modules: z
        .enum(['open', 'proprietary', 'auto'])
        .optional()
        .describe('Which of NVIDIA’s kernel modules. Default: auto.'),
    }),
  ])
  .describe('GPU driver: `nvidia@550`, `amdgpu`, `intel`, `auto`, or a mapping.');

export const CudaInput = z
  .union([
    VersionPrefix,
    z.strictObject({
      version: VersionPrefix.optional().describe('Version, such as "12.4", or auto. Default: auto.'),
      compat: z
        .boolean()
        .optional()
        .describe('True adds the forward compatibility libraries, for a driver older than this CUDA.'),
      toolkit: z.boolean().optional().describe('True adds compiler and headers.'),
    }),
  ])
  .describe('CUDA: `"12.4"`, `auto`, or a mapping.');

export const RuntimeInput = z.union([
  Named('a runtime, such as llama.cpp, or with its version, such as vllm@0.20'),
  z.strictObject({
    use: LayerName.describe('Name of a runtime.'),
    version: text(/^(?:auto|\d[\w.+~-]*)$/, 'a version or the start of one, such as "0.20", or auto')
      .optional()
      .describe('Version, or the start of one. Default: auto.'),
    digest: text(/^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hex digits')
      .transform((digest) => parseDigest(digest))
      .optional()
      .describe('Digest of the container image, for a runtime that is one.'),
    features: z
      .array(text(/^[a-z][a-z0-9-]*$/, 'a feature, such as fp8'))
      .optional()
      .describe('What it must be able to do on every GPU of the image, such as fp8.'),
  }),
]);

export type RuntimeInput = z.infer<typeof RuntimeInput>;

export const GroupInput = z.strictObject({
  name: text(ACCOUNT, 'a group name: lower-case letters, digits, _ and -, at most 31'),
  gid: z.int().min(FIRST_ID).max(LAST_ID).optional().describe('Default: allocated when the image is built.'),
});

const SSH_KEY =
  /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) ([A-Za-z0-9+/]{16,}={0,3})(?: [^\p{Cc}]*)?$/u;

/** Fields with a 32-bit length before each, the first of them the key's type (RFC 4253, section 6.6). */
function isKeyBlob(blob: Buffer, type: string): boolean {
  const fields: string[] = [];
  let offset = 0;
  while (offset + 4 <= blob.length) {
    const start = offset + 4;
    offset = start + blob.readUInt32BE(offset);
    fields.push(blob.toString('latin1', start, offset));
  }
  return offset === blob.length && fields.length > 1 && fields[0] === type;
}

/** Never shown in a message: what was pasted may be a secret. */
export const SshKey = z.string().superRefine((key, context) => {
  const match = SSH_KEY.exec(key);
  if (match !== null && isKeyBlob(Buffer.from(match[2] ?? '', 'base64'), match[1] ?? '')) return;
  const message = key.includes('PRIVATE KEY')
    ? 'is a private key: remove it from this file, and give the public one (*.pub)'
    : match !== null
      ? 'is cut short or damaged: its text does not hold a key of the type it names'
      : 'is not an SSH public key; one looks like "ssh-ed25519 AAAA… comment"';
  context.addIssue({ code: 'custom', message });
});

export const UserInput = z.strictObject({
  name: text(ACCOUNT, 'a user name: lower-case letters, digits, _ and -, at most 31'),
  uid: z.int().min(FIRST_ID).max(LAST_ID).optional().describe('Default: allocated when the image is built.'),
  gecos: text(/^[^:\p{Cc}]*$/u, 'a full name without colons')
    .optional()
    .describe('Full name.'),
  shell: text(/^\/[^\s:]+$/, 'an absolute path')
    .optional()
    .describe('Login shell. Default: /bin/bash.'),
  groups: z
    .array(text(ACCOUNT, 'a group name'))
    .optional()
    .describe('Groups besides the user’s own, such as sudo.'),
  sshKeys: z.array(SshKey).optional().describe('Public keys that may log in as this user.'),
});

export const FileInput = z.strictObject({
  path: FilePath.describe('Absolute path in the image, under /etc or /usr.'),
  content: z.string().describe('The whole text of the file.'),
  mode: FileMode.optional().describe('Octal permission bits, in quotes. Default: "0644".'),
  user: text(ACCOUNT, 'a user name').optional().describe('Owner. Default: root.'),
  group: text(ACCOUNT, 'a group name').optional().describe('Default: root.'),
});

export const UnitInput = z.strictObject({
  name: UnitName.describe('With suffix, such as `chrony.service`.'),
  enabled: z.boolean().optional().describe('Default: as the distribution presets it.'),
  masked: z.boolean().optional().describe('True makes the unit impossible to start.'),
  content: z
    .string()
    .refine((unit) => /^\[[A-Z][A-Za-z]*\]\s*$/m.test(unit), 'is not a unit file: it has no [Section]')
    .optional()
    .describe('Text of the unit file, for a unit that no package brings.'),
});

/** What `run` or `http` says must hold: one of the two. */
export const HealthFields = z.strictObject({
  name: text(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'lower-case letters, digits, and . _ -'),
  run: text(/^[^\0]*\S[^\0]*$/, 'a shell command')
    .optional()
    .describe('Shell command, run as root on the node; exit status 0 is healthy.'),
  http: text(LOOPBACK_ADDRESS, 'an address of the node itself, such as http://127.0.0.1:8000/health')
    .optional()
    .describe('Instead of `run`: an address of the node itself that must answer with a status of 2xx.'),
  service: UnitName.optional().describe(
    'With `http`: the unit that answers. It is not asked where its own conditions keep it from running.',
  ),
  timeout: text(/^[1-9]\d{0,4}[sm]$/, 'a time such as 60s or 2m')
    .optional()
    .describe('Default: 30s.'),
});

type HealthKeys = Pick<z.infer<typeof HealthFields>, 'run' | 'http' | 'service'>;

/** For refinements, with what they say. */
export const ASKS_ONE_WAY = [
  ({ run, http }: HealthKeys): boolean => (run === undefined) !== (http === undefined),
  'needs either run or http',
] as const;
export const SERVICE_ANSWERS = [
  ({ run, service }: HealthKeys): boolean => run === undefined || service === undefined,
  'has a service, which goes with http and not with run',
] as const;

export const HealthInput = HealthFields.refine(...ASKS_ONE_WAY).refine(...SERVICE_ANSWERS);

export const ModelInput = z.strictObject({
  name: BoundName.describe('What it is called.'),
  artifact: BoundReference.describe(
    'Artifact in a registry, with its tag: files, as `oras push` puts them there.',
  ),
  path: FilePath.optional().describe('Where the node sees its files. Default: /usr/share/models/NAME.'),
});
export type ModelInput = z.infer<typeof ModelInput>;

const parts = {
  version: ImageVersion.optional().describe(
    'Version of the image. Default: the date of the lock and a counter.',
  ),
  summary: oneLine('one line of text').optional().describe('One line that says what the image is for.'),
  arch: z
    .enum(['amd64', 'arm64'])
    .optional()
    .describe('Architecture of the node’s processor. Default: amd64.'),
  base: BaseInput.optional(),
  kernel: KernelInput.optional(),
  gpus: z
    .array(GpuUseInput)
    .optional()
    .describe('GPUs that it must run on: names, families or PCI ids, or mappings with a MIG layout.'),
  driver: DriverInput.optional(),
  cuda: CudaInput.optional(),
  runtimes: z
    .array(RuntimeInput)
    .optional()
    .describe('What runs the models: `llama.cpp`, `vllm@0.20`, or mappings.'),
  agent: z
    .union([z.boolean(), LayerName])
    .optional()
    .describe(
      'True puts Ingot itself on the node: the agent `ingot`, or another by its name. Default: false.',
    ),
  containers: z
    .array(ContainerInput)
    .optional()
    .describe('Containers that belong to the image: pulled before a restart into it, and gone with it.'),
  models: z
    .array(ModelInput)
    .optional()
    .describe('Models as artifacts in a registry, which belong to the image in the same way.'),
  addons: z.array(LayerName).optional().describe('Addon layers of the catalogue, such as ssh.'),
  packages: z
    .array(PackageRequest)
    .optional()
    .describe('Packages besides those of the layers; `name`, or `name=version`.'),
  hostname: text(
    /^(?=.{1,64}$)(?!localhost$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/,
    'a host name: lower-case letters, digits and -, in labels of at most 63',
  )
    .optional()
    .describe('Static host name. Default: from the network, or localhost.'),
  groups: z.array(GroupInput).optional().describe('Groups to create.'),
  users: z.array(UserInput).optional().describe('Accounts to create.'),
  files: z.array(FileInput).optional().describe('Files to put into the image.'),
  units: z.array(UnitInput).optional().describe('systemd units to enable, disable, mask or add.'),
  kernelArguments: z.array(KernelArgument).optional().describe('Added to the kernel command line.'),
  health: z.array(HealthInput).optional().describe('What must hold for a boot to count as good.'),
  update: UpdateInput.optional().describe(
    'Where nodes take their next image from, and whose signature it must have.',
  ),
};

/** A variant: a name, and whatever differs. */
export const VariantInput = z.strictObject({
  name: ImageName.describe('What `--variant` takes.'),
  ...parts,
});
export type VariantInput = z.infer<typeof VariantInput>;

const Reference = oneLine('the path of another declaration');

export const NodeImageInput = z
  .strictObject({
    name: ImageName.describe('Name of the image; also of its repository in a registry.'),
    extends: z
      .union([Reference, z.array(Reference)])
      .optional()
      .describe(
        'Declarations to start from, relative to this file; a later one wins over an earlier one, and this file over all. Mappings merge, single values replace, lists append, and list entries with the same name (files: path) replace.',
      ),
    ...parts,
    base: BaseInput,
    variants: z
      .array(VariantInput)
      .optional()
      .describe('Variations of this image, merged over it as `extends` merges.'),
  })
  .meta({ title: 'Ingot node image', description: 'One immutable, bootable OS image for a node.' });
export type NodeImageInput = z.infer<typeof NodeImageInput>;
