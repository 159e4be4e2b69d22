/** Kernel modules from source: a small package of Debian's built for its cloud kernel, and sources that misbehave. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { makeModulesTree } from '../../src/build/modules/modules-tree.ts';
import { contentsOf } from '../../src/build/tree-remainder.ts';
import { settleTimes } from '../../src/build/tree-times.ts';
import { loadFacts } from '../../src/catalog/facts/load.ts';
import { moduleFacts } from '../../src/cli/module-facts.ts';
import { loadModuleSigner } from '../../src/cli/module-key.ts';
import { hexOf } from '../../src/digest.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { planModules } from '../../src/plan/plan-modules.ts';
import type { ModulesInput, PlannedTree } from '../../src/plan/plan.ts';
import { silentReporter } from '../../src/report/events.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { Store } from '../../src/store/store.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson, PRODUCT_ROOT } from '../support/cli.ts';
import { keyUri, makeSoftToken, PIN } from '../support/soft-token.ts';

const CALL = 'name: acpi-call\nkind: addon\nsummary: x\nmodules: { source: acpi-call-dkms }\n';
const LOOPBACK = 'name: loopback\nkind: addon\nsummary: x\nmodules: { source: v4l2loopback-dkms }\n';

let image: BuiltImage;
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/modules-'));
  mkdirSync(join(folder, 'layers/addon'), { recursive: true });
  writeFileSync(join(folder, 'layers/addon/acpi-call.yaml'), CALL);
  writeFileSync(join(folder, 'layers/addon/loopback.yaml'), LOOPBACK);
  env = { INGOT_STORE: image.store, INGOT_LAYERS: join(folder, 'layers') };
  declare('node', 'acpi-call');
  await ingotJson(['lock', 'node.yaml'], { cwd: folder, env });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A declaration beside the shared image's lock, so that its layers are taken from the store. */
function declare(name: string, addon: string): void {
  const text = readFileSync(image.declaration, 'utf8').replace(/^addons: .*$/m, `addons: [ssh, ${addon}]`);
  expect(text).toContain(addon);
  writeFileSync(join(folder, `${name}.yaml`), text);
  copyFileSync(image.declaration.replace('.yaml', '.lock.yaml'), join(folder, `${name}.lock.yaml`));
}

function lockOf(name: string): Lock {
  const path = join(folder, `${name}.lock.yaml`);
  return parseLock(readFileSync(path, 'utf8'), path);
}

interface BuiltJson {
  readonly digest: string;
  readonly layers: readonly {
    readonly name: string;
    readonly chunks: readonly { readonly digest: string }[];
    readonly cached: boolean;
  }[];
}

/** A file of one of the image's layers. */
function fileIn({ layers }: BuiltJson, layer: string, path: string): Buffer {
  const chunks = layers.find(({ name }) => name === layer)?.chunks ?? [];
  for (const { digest } of chunks) {
    const blob = join(image.store, 'blobs/sha256', digest.slice('sha256:'.length));
    const names = execFileSync('tar', ['--zstd', '--list', '--file', blob], { encoding: 'utf8' }).split('\n');
    if (!names.includes(path)) continue;
    const options = { maxBuffer: 1 << 26 };
    return execFileSync('tar', ['--zstd', '--extract', '--to-stdout', '--file', blob, path], options);
  }
  throw new Error(`the layer ${layer} has no ${path}`);
}

/** The compile root of a lock, which is in the store after a build. */
async function stepOf(lock: Lock): Promise<PlannedTree & { readonly modules: ModulesInput }> {
  const facts = await loadFacts(join(PRODUCT_ROOT, 'drivers'));
  const [step] = planModules(lock, await moduleFacts(lock, facts));
  if (step?.modules === undefined) throw new Error('the lock has no modules');
  return { ...step, modules: step.modules };
}

/** Digest of the tree that the step's source gives when it is compiled once more, beside the one in the store. */
async function compileAgain(step: PlannedTree): Promise<string> {
  const root = mkdtempSync(join(folder, 'again-'));
  await makeModulesTree(root, step, {
    store: await Store.open(image.store),
    mirrors: () => loadMirrors(process.env),
    created: new Date(),
    reporter: silentReporter,
  });
  settleTimes(root, step.epoch);
  return await contentsOf(root);
}

describe('modules of an addon', () => {
  let built: BuiltJson;
  let lock: Lock;
  let module: string;

  beforeAll(async () => {
    const args = ['build', 'node.yaml', '--output', join(folder, 'layout')];
    built = (await ingotJson(args, { cwd: folder, env })) as unknown as BuiltJson;
    lock = lockOf('node');
    module = `usr/lib/modules/${lock.kernel.release}/updates/acpi_call.ko`;
  });

  it('are built for the locked kernel, and the same when they are built again', async () => {
    const step = await stepOf(lock);
    const kept = join(image.store, 'trees', hexOf(step.treeKey), 'root');
    expect(await compileAgain(step)).toBe(await contentsOf(kept));
    const content = fileIn(built, 'modules-acpi-call', module).toString('latin1');
    expect(content).toContain(`vermagic=${lock.kernel.release} SMP`);
    expect(content).not.toContain('.debug_info');
    expect(content).not.toContain('Module signature appended');
    const index = fileIn(built, 'initramfs', `usr/lib/modules/${lock.kernel.release}/modules.dep`);
    expect(index.toString()).toContain('\nupdates/acpi_call.ko:');
  });

  it('leave every other layer as it is', () => {
    const cached = built.layers.filter((layer) => layer.cached).map(({ name }) => name);
    expect(cached).toEqual(expect.arrayContaining(['base', 'kernel', 'addon-ssh']));
  });

  it('stay in the store for another image, and for a declaration that changed', async () => {
    writeFileSync(
      join(folder, 'other.yaml'),
      `${readFileSync(join(folder, 'node.yaml'), 'utf8')}\nhostname: other\n`,
    );
    copyFileSync(join(folder, 'node.lock.yaml'), join(folder, 'other.lock.yaml'));
    await ingotJson(['lock', 'other.yaml'], { cwd: folder, env });
    const { steps } = (await ingotJson(['plan', 'other.yaml'], { cwd: folder, env })) as unknown as {
      steps: { name: string; kind: string; cached: boolean }[];
    };
    expect(steps.find(({ name }) => name === 'modules-acpi-call')).toMatchObject({
      kind: 'modules',
      cached: true,
    });
  });

  it('are signed with a key that nobody sees, and modinfo says by whom', async () => {
    const subject = '/O=Tests/CN=Modules of a test';
    const request = ['-newkey', 'rsa:2048', '-noenc', '-days', '2', '-subj', subject];
    const [key, certificate] = [join(folder, 'mok.key'), join(folder, 'mok.pem')];
    execFileSync('openssl', ['req', '-x509', ...request, '-keyout', key, '-out', certificate], {
      stdio: 'ignore',
    });
    const args = ['build', 'node.yaml', '--output', join(folder, 'signed'), '--json', '--verbose'];
    const { exitCode, stdout, stderr } = await ingot(
      [...args, '--module-key', '7', '--module-certificate', 'mok.pem'],
      { cwd: folder, env, prefix: ['bash', '-c', 'exec 7<"$0"; exec "$@"', key] },
    );
    expect(exitCode, stderr).toBe(0);
    const signed = JSON.parse(stdout) as BuiltJson;
    const content = fileIn(signed, 'modules-acpi-call', module);
    const plain = fileIn(built, 'modules-acpi-call', module);
    expect(content.subarray(0, plain.length).equals(plain)).toBe(true);
    const path = join(folder, 'acpi_call.ko');
    writeFileSync(path, content);
    const compile = join(image.store, 'trees', hexOf((await stepOf(lock)).modules.compile.treeKey), 'root');
    const inside = ['--ro-bind', compile, '/', '--tmpfs', '/run', '--ro-bind', path, '/run/module.ko'];
    const information = execFileSync('bwrap', [...inside, 'modinfo', '/run/module.ko'], { encoding: 'utf8' });
    expect(information).toMatch(/^signer: +Modules of a test$/m);
    expect(information).toMatch(/^sig_hashalgo: +sha256$/m);
    const der = fileIn(
      signed,
      'modules-acpi-call',
      'usr/share/ingot/module-certificates/modules-acpi-call.der',
    );
    const wanted = execFileSync('openssl', ['x509', '-in', certificate, '-outform', 'DER']);
    expect(der.equals(wanted)).toBe(true);
    // A token that holds the same key makes the same module.
    mkdirSync(join(folder, 'token'));
    const token = makeSoftToken(join(folder, 'token'));
    token.importKey(key, 'mok', '01');
    writeFileSync(join(folder, 'pin'), `${PIN}\n`);
    const signer = await loadModuleSigner(
      { cwd: folder, env: token.env, signal: new AbortController().signal },
      {
        moduleKey: keyUri('mok'),
        moduleKeyPassphrase: String(openSync(join(folder, 'pin'), 'r')),
        moduleCertificate: 'mok.pem',
      },
    );
    expect((await signer?.sign(plain))?.equals(content)).toBe(true);
    // Neither what it said nor what it left has anything of the key.
    const secret = readFileSync(key, 'utf8').split('\n')[2] ?? '';
    expect(secret.length).toBeGreaterThan(40);
    expect(stdout + stderr).not.toContain(secret);
    expect(() => execFileSync('grep', ['-rqF', secret, join(image.store, 'records')])).toThrow();
  });
});

it('a source that is not for the kernel is refused before anything is compiled', async () => {
  declare('loopback', 'loopback');
  await ingotJson(['lock', 'loopback.yaml'], { cwd: folder, env });
  const { exitCode, stderr } = await ingot(['build', 'loopback.yaml'], { cwd: folder, env });
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(
    /error\[BUILD_FAILED\]: v4l2loopback-dkms \S+ does not build for .*CONFIG_VIDEO_DEV/,
  );
  expect(stderr).not.toContain('Compile v4l2loopback-dkms: done');
});

describe('a source of somebody’s own', () => {
  const CONF =
    'PACKAGE_NAME=own\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME[0]=own\nMAKE="make -C $kernel_source_dir M=$dkms_tree/own/1/build"\n';
  const KBUILD = 'obj-m += own.o\n';
  const CODE = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n';
  let store: Store;
  let step: PlannedTree & { readonly modules: ModulesInput };
  let round = 0;

  beforeAll(async () => {
    store = await Store.open(image.store);
    step = await stepOf(lockOf('node'));
  });

  function packageOf(files: Readonly<Record<string, string>>): LockedPackage {
    const tree = join(folder, `own-${(round += 1)}`);
    mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
    writeFileSync(
      join(tree, 'DEBIAN/control'),
      `Package: own-dkms\nVersion: ${round}\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: x\n`,
    );
    for (const [path, content] of Object.entries(files)) {
      const file = join(tree, 'usr/src/own-1', path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content, { mode: 0o755 });
    }
    const deb = `${tree}.deb`;
    execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, deb], { stdio: 'ignore' });
    const content = readFileSync(deb);
    const sha256 = createHash('sha256').update(content).digest('hex');
    mkdirSync(dirname(store.packagePath(sha256)), { recursive: true });
    copyFileSync(deb, store.packagePath(sha256));
    const filename = 'pool/own.deb';
    const version = String(round);
    return {
      name: 'own-dkms',
      version,
      architecture: 'all',
      sha256,
      size: content.length,
      filename,
      archive: 'x',
    };
  }

  async function build(
    files: Readonly<Record<string, string>>,
    change: Partial<ModulesInput> = {},
  ): Promise<string> {
    const root = join(folder, `tree-${(round += 1)}`);
    mkdirSync(root);
    const modules = { ...step.modules, source: packageOf(files), patches: [], known: [], ...change };
    await makeModulesTree(
      root,
      { ...step, modules },
      {
        store,
        mirrors: () => loadMirrors(process.env),
        created: new Date(),
        reporter: silentReporter,
      },
    );
    return join(root, 'usr/lib/modules', modules.kernelRelease, 'updates');
  }

  async function failure(...args: Parameters<typeof build>): Promise<string> {
    const error: unknown = await build(...args).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'BUILD_FAILED' });
    return error instanceof Error ? error.message : '';
  }

  it('is built as a user without rights, in a root that cannot be written, without network', async () => {
    const probe = [
      '#!/bin/sh',
      'test "$(id -u):$(id -g)" = 65534:65534 || exit 1',
      'touch /usr/here 2>/dev/null && exit 2',
      'touch /run/ingot/packages/here 2>/dev/null && exit 3',
      'test "$(ls /sys/class/net 2>/dev/null | grep -vx lo)" = "" || exit 4',
      'grep -q "^CapEff:[[:space:]]*0*$" /proc/self/status || exit 5',
      'test -e /root/.cache && exit 6',
      'exit 0',
    ].join('\n');
    const updates = await build({
      'dkms.conf': `${CONF}PRE_BUILD=probe\n`,
      probe,
      Kbuild: KBUILD,
      'own.c': CODE,
    });
    expect(readdirSync(updates)).toEqual(['own.ko']);
    const { uid, gid, mode } = statSync(join(updates, 'own.ko'));
    expect([uid, gid, mode & 0o7777]).toEqual([0, 0, 0o644]);
  });

  it('gets its patch before it is compiled', async () => {
    const files = { 'dkms.conf': CONF, Kbuild: KBUILD, 'own.c': `${CODE}#error not patched\n` };
    const text = `--- a/own.c\n+++ b/own.c\n@@ -1,3 +1,2 @@\n #include <linux/module.h>\n MODULE_LICENSE("GPL");\n-#error not patched\n`;
    const updates = await build(files, { patches: [{ name: 'mend', text }] });
    expect(readdirSync(updates)).toEqual(['own.ko']);
    expect(await failure({ ...files, 'own.c': '// other\n' }, { patches: [{ name: 'mend', text }] })).toBe(
      `the patch mend does not fit own-dkms ${round}`,
    );
  });

  it('that does not compile fails with the compiler’s words, and what is known of the pair', async () => {
    const files = { 'dkms.conf': CONF, Kbuild: KBUILD, 'own.c': `${CODE}int x = pci_resize_resource(1);\n` };
    const message = await failure(files, { known: ['fails on Linux 6.12 (a report)'] });
    expect(message).toMatch(/^own-dkms \d+ does not build for 6\..*\n.*own\.c:3:9: error: /);
    expect(message).toContain('\nknown of the two: fails on Linux 6.12 (a report)');
  });

  it('that needs what the kernel does not have fails by name', async () => {
    const code = `${CODE}extern int nobody_has_this(void);\nint own_call(void);\nint own_call(void) { return nobody_has_this(); }\n`;
    const files = { 'dkms.conf': CONF, Kbuild: KBUILD, 'own.c': code };
    expect(await failure(files)).toContain('nobody_has_this');
    // Where its make files do not look, depmod does.
    const silent = { ...files, 'dkms.conf': CONF.replace('make -C', 'make KBUILD_MODPOST_WARN=1 -C') };
    expect(await failure(silent)).toContain('own.ko needs unknown symbol nobody_has_this');
  });

  it.each([
    ['a link to the machine’s files', { MAKE: 'ln -s /etc/passwd own.ko' }, 'built no own.ko'],
    [
      'a link to another folder',
      { MAKE: 'ln -s ../../../../../../../../etc/passwd own.ko' },
      'built no own.ko',
    ],
    ['a folder in a module’s place', { MAKE: 'mkdir own.ko' }, 'built no own.ko'],
    ['nothing', { MAKE: 'true' }, 'built no own.ko'],
    ['a name that leads out', { 'BUILT_MODULE_NAME[0]': '../own' }, 'its BUILT_MODULE_NAME is'],
    ['a folder that leads out', { 'BUILT_MODULE_LOCATION[0]': '../..' }, 'its BUILT_MODULE_LOCATION is'],
    ['a version that leads out', { PACKAGE_VERSION: '../1' }, 'its PACKAGE_VERSION is'],
    ['one module twice', { 'BUILT_MODULE_NAME[1]': 'own' }, 'the module own twice'],
    ['another machine’s', { BUILD_EXCLUSIVE_ARCH: 'ppc64' }, 'machines that match ppc64'],
    ['an older kernel’s', { BUILD_EXCLUSIVE_KERNEL_MAX: '5.4' }, 'kernels up to 5.4'],
    ['a newer kernel’s', { BUILD_EXCLUSIVE_KERNEL_MIN: '99' }, 'kernels from 99 on'],
    ['one without modules', { BUILD_EXCLUSIVE_CONFIG: '!CONFIG_MODULES' }, 'kernels without CONFIG_MODULES'],
  ])('that makes %s is refused', async (_what, variables, expected) => {
    const more = Object.entries(variables).map(([name, value]) => `${name}='${value}'\n`);
    const files = { 'dkms.conf': CONF + more.join(''), Kbuild: KBUILD, 'own.c': CODE };
    expect(await failure(files)).toContain(expected);
  });

  it('that is none is refused', async () => {
    expect(await failure({ 'own.c': CODE })).toContain('it has no dkms.conf below /usr/src');
  });
});
