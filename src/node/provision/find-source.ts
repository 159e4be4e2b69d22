/** Where a machine's provisioning data may come from. The first that is there counts. */
import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf, IngotError } from '../../errors.ts';
import { MountNamespace } from '../../proc/mount-namespace.ts';
import { readSourceText } from '../../spec/source-text.ts';
import {
  isCloudConfig,
  parseCloudConfig,
  type NoCloudFiles,
  type ParsedCloudConfig,
} from './cloud-config.ts';
import { parseProvisionFile } from './provision-file.ts';

/** A systemd credential: QEMU's fw_cfg `opt/io.systemd.credentials/…` and SMBIOS type 11 bring them. */
export const CREDENTIAL = 'ingot.provision';
/** Of cloud-init, for files that somebody else puts into the machine. */
export const NOCLOUD_FOLDER = '/var/lib/cloud/seed/nocloud';
/** Names of volumes that have the files in their root. */
const LABELS = ['cidata', 'CIDATA', 'ingot-provision', 'INGOT-PROV'];
/** Of Ingot's own file on such a volume. */
const OWN_FILE = 'provision.yaml';
const VOLUMES = '/dev/disk/by-label';
/** In a namespace of our own, where nobody misses it. */
const MOUNT_POINT = '/tmp';

export interface ProvisioningSource {
  /** For the journal and a person. */
  readonly name: string;
  readonly parsed: ParsedCloudConfig;
  /** A file that goes when it was applied. */
  readonly seed?: string;
}

export interface SourceOptions {
  readonly seedFile: string;
  /** Of systemd, when it gave any. */
  readonly credentials: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @throws FindingsError PROVISION_INVALID for data that is there and wrong: nothing else is looked for then
 * @throws IngotError PROVISION_INVALID for files that are no text, TOOL_FAILED
 */
export async function findProvisioning(options: SourceOptions): Promise<ProvisioningSource | undefined> {
  const { seedFile, credentials, signal } = options;
  if (await isThere(seedFile)) {
    return { name: 'the disk', parsed: await readOne(seedFile, 'provision'), seed: seedFile };
  }
  const credential = credentials === undefined ? undefined : join(credentials, CREDENTIAL);
  if (credential !== undefined && (await isThere(credential))) {
    return { name: `the credential ${CREDENTIAL}`, parsed: await readOne(credential, CREDENTIAL) };
  }
  const volume = await findVolume();
  if (volume !== undefined) {
    await using namespace = await MountNamespace.open({ signal });
    const mount = [
      'mount',
      '-t',
      'iso9660,vfat',
      '-o',
      'ro,nosuid,nodev,noexec',
      volume,
      MOUNT_POINT,
    ] as const;
    await namespace.run(mount, { signal });
    const parsed = await readFolder(namespace.outsidePath(MOUNT_POINT), volume);
    if (parsed !== undefined) return { name: volume, parsed };
  }
  const parsed = await readFolder(NOCLOUD_FOLDER, NOCLOUD_FOLDER);
  return parsed === undefined ? undefined : { name: NOCLOUD_FOLDER, parsed };
}

/** A file or a folder that somebody named. @throws as `findProvisioning`; NOT_FOUND */
export async function readProvisioning(path: string, shown: string): Promise<ParsedCloudConfig> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (!isFolder) return readOne(path, shown);
  const parsed = await readFolder(path, shown);
  if (parsed !== undefined) return parsed;
  throw new IngotError('NOT_FOUND', `there is no ${OWN_FILE} and no user-data in ${shown}`);
}

/** A text alone: Ingot's own file, or user-data. */
export function parseProvisioning(text: string, file: string): ParsedCloudConfig {
  if (isCloudConfig(text)) return parseCloudConfig({ userData: text }, '', file);
  return { provisioning: parseProvisionFile(text, file), warnings: [] };
}

async function readOne(path: string, shown: string): Promise<ParsedCloudConfig> {
  return parseProvisioning(await readText(path, shown), shown);
}

/** Ingot's own file, or those of NoCloud; undefined when neither is there. */
async function readFolder(folder: string, shown: string): Promise<ParsedCloudConfig | undefined> {
  const read = async (name: string): Promise<string | undefined> =>
    (await isThere(join(folder, name))) ? readText(join(folder, name), join(shown, name)) : undefined;
  const own = await read(OWN_FILE);
  if (own !== undefined) return parseProvisioning(own, join(shown, OWN_FILE));
  const files: NoCloudFiles = {
    userData: await read('user-data'),
    metaData: await read('meta-data'),
    networkConfig: await read('network-config'),
  };
  const isAnyThere = Object.values(files).some((text) => text !== undefined);
  return isAnyThere ? parseCloudConfig(files, shown) : undefined;
}

function readText(path: string, shown: string): Promise<string> {
  return readSourceText(path, shown, { unreadable: 'NOT_FOUND', invalid: 'PROVISION_INVALID' });
}

async function findVolume(): Promise<string | undefined> {
  let labels: readonly string[] = [];
  try {
    labels = await readdir(VOLUMES);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const label = LABELS.find((known) => labels.includes(known));
  return label === undefined ? undefined : join(VOLUMES, label);
}

/** A link is not: on a volume that anybody made it may lead to files of the machine. */
async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isFile() === true;
}
