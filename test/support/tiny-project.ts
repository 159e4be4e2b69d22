/** A project on an archive of a test's own: a base and a kernel layer of tiny packages, and nothing of Debian's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { MirrorServer, type TestKey, TinyArchive } from './mirror.ts';

/** What the layers ask for must be published: `init`, `linux-image-tiny`, and `hammer` for the tools. */
export class TinyProject implements AsyncDisposable {
  readonly folder: string;
  readonly archive: TinyArchive;
  readonly server: MirrorServer;
  readonly env: Readonly<Record<string, string>>;

  private constructor(folder: string, archive: TinyArchive, server: MirrorServer) {
    this.folder = folder;
    this.archive = archive;
    this.server = server;
    this.env = {
      INGOT_STORE: join(folder, 'störe'),
      INGOT_LAYERS: join(folder, 'layers'),
      INGOT_MIRROR: server.url,
    };
  }

  /** @param folder is made; the archive is in it, with nothing published yet */
  static async start(folder: string, key: TestKey): Promise<TinyProject> {
    const archive = new TinyArchive(join(folder, 'archive'), key);
    const project = new TinyProject(folder, archive, await MirrorServer.start(archive.root));
    const archives = `[{name: debian, suites: [tiny], components: [main], keyring: '${key.keyring}'}]`;
    await project.writeLayer(
      'base/tiny.yaml',
      `name: tiny\nkind: base\nsummary: x\ndefaultRelease: '1'\nreleases: {'1': {suite: tiny, archives: ${archives}}}\n` +
        'install: {debian: {packages: [init]}}\n',
    );
    await project.writeLayer(
      'kernel/tiny.yaml',
      'name: tiny\nkind: kernel\nsummary: x\ninstall: {debian: {packages: [linux-image-tiny]}}\n',
    );
    await project.writeLayer('tools.yaml', "base: tiny\nrelease: '1'\npackages: [hammer]\n");
    return project;
  }

  async writeLayer(path: string, text: string): Promise<void> {
    const file = join(this.folder, 'layers', path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  /** `node.yaml`, on the tiny base. */
  async declare(rest: string, kernel = 'tiny'): Promise<void> {
    await writeFile(join(this.folder, 'node.yaml'), `name: node\nbase: tiny\nkernel: ${kernel}\n${rest}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}
