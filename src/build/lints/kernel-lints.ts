/** Can the image boot: one kernel, an initramfs that finds the deployment, arguments that can be read? */
import { parse as parseToml } from 'smol-toml';
import * as z from 'zod';

import { readInitramfs } from './cpio.ts';
import { type ImageRoot, lstatIn } from './image-root.ts';

const MODULES = '/usr/lib/modules';
const KARGS = '/usr/lib/bootc/kargs.d';
const PREPARE_ROOT_CONF = 'usr/lib/ostree/prepare-root.conf';
const PREPARE_ROOT = 'usr/lib/ostree/ostree-prepare-root';

export async function checkKernel({ fs, facts }: ImageRoot): Promise<string[]> {
  const releases = await fs.list(MODULES);
  if (releases.length !== 1 || releases[0] !== facts.kernelRelease) {
    return [`${MODULES} holds ${releases.join(', ') || 'nothing'} and must hold just ${facts.kernelRelease}`];
  }
  const findings: string[] = [];
  for (const name of ['vmlinuz', 'initramfs.img', 'modules.dep']) {
    const path = `${MODULES}/${facts.kernelRelease}/${name}`;
    const stats = await lstatIn(fs, path);
    if (stats?.isFile() !== true || stats.size === 0) findings.push(`${path} is no file, or empty`);
  }
  return findings;
}

/** The program that mounts the deployment, and its configuration as the root has it. */
export async function checkInitramfs({ fs, facts }: ImageRoot): Promise<string[]> {
  const path = `${MODULES}/${facts.kernelRelease}/initramfs.img`;
  const expected = await fs.readText(`/${PREPARE_ROOT_CONF}`);
  const findings: string[] = [];
  let hasProgram = false;
  let configuration: string | undefined;
  const releases = new Set<string>();
  try {
    const wanted = (name: string): boolean => name === PREPARE_ROOT_CONF;
    for await (const entry of readInitramfs(await fs.resolve(path, true), wanted)) {
      if (entry.path === PREPARE_ROOT && (entry.mode & 0o111) !== 0) hasProgram = true;
      if (entry.path === PREPARE_ROOT_CONF) configuration = entry.contents?.toString();
      const release = /^(?:usr\/)?lib\/modules\/([^/]+)\//.exec(entry.path)?.[1];
      if (release !== undefined) releases.add(release);
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [`${path} cannot be read: ${error.message}`];
  }
  if (!hasProgram) findings.push(`${path} lacks ${PREPARE_ROOT}: is the dracut module "ostree" on?`);
  if (configuration === undefined) findings.push(`${path} lacks ${PREPARE_ROOT_CONF}`);
  else if (configuration !== expected) {
    findings.push(`${path} has another ${PREPARE_ROOT_CONF} than the root: it was made before the file changed`);
  }
  for (const release of releases) {
    if (release !== facts.kernelRelease) findings.push(`${path} has modules of ${release}`);
  }
  return findings;
}

/** bootc(8), "kernel arguments": one array of strings per file, for all or some architectures. */
const KargsFile = z.strictObject({
  kargs: z.array(z.string().regex(/^\S+$/, 'must be one argument without white space')),
  'match-architectures': z.array(z.string()).optional(),
});

export async function checkKargs({ fs }: ImageRoot): Promise<string[]> {
  const findings: string[] = [];
  for (const name of await fs.list(KARGS)) {
    const path = `${KARGS}/${name}`;
    if (!name.endsWith('.toml')) {
      findings.push(`${path} is not read: its name must end in .toml`);
      continue;
    }
    let value: unknown;
    try {
      value = parseToml(await fs.readText(path));
    } catch (error) {
      findings.push(`${path} is not TOML: ${error instanceof Error ? firstLine(error.message) : 'unreadable'}`);
      continue;
    }
    const parsed = KargsFile.safeParse(value);
    for (const issue of parsed.error?.issues ?? []) {
      findings.push(`${path}: ${[...issue.path, issue.message].join(': ')}`);
    }
  }
  return findings;
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
