/** Which package brings a file, by dpkg's lists or rpm's database, and where a file belongs that none brings. Pure. */
import { rpmPackages } from './rpm-packages.ts';

const LIST = /^(?:usr\/lib\/sysimage|var\/lib)\/dpkg\/info\/([^/]+)\.list$/;
/** Folders that moved below /usr; packages may still name them as they were. */
const MERGED = /^(?:bin|sbin|lib|lib32|lib64|libx32)(?=\/)/;

/** The package whose list a path is: `libc6` of `…/info/libc6:amd64.list`. */
export function packageOfList(path: string): string | undefined {
  return LIST.exec(path)?.[1]?.replace(/:.*$/, '');
}

/** @param texts contents by path; all that are no lists are passed over */
export function fileOwners(texts: ReadonlyMap<string, string>): (path: string) => string | undefined {
  const owners = new Map<string, string>();
  for (const [path, text] of texts) {
    const name = packageOfList(path);
    if (name === undefined) continue;
    for (const line of text.split('\n')) {
      const file = line.replace(/^\/+/, '').replace(MERGED, 'usr/$&');
      // Folders belong to many: the first one stands for them, and nobody asks.
      if (file !== '' && file !== '.' && !owners.has(file)) owners.set(file, name);
    }
  }
  for (const item of rpmPackages(texts) ?? []) {
    for (const file of item.files()) {
      const path = file.slice(1).replace(MERGED, 'usr/$&');
      if (!owners.has(path)) owners.set(path, item.name);
    }
  }
  return (path) => {
    const own = /\/dpkg\/info\/([^/:]+)(?::[^/]*)?\.[a-z0-9]+$/.exec(path)?.[1];
    return own ?? owners.get(path);
  };
}

/** The folder that a file without a package is shown under: deep enough to tell, and no deeper. */
export function placeOf(path: string): string {
  const parts = path.split('/');
  const depth = parts[0] === 'usr' ? (parts[1] === 'lib' || parts[1] === 'share' ? 3 : 2) : 2;
  const folder = parts.slice(0, Math.min(depth, parts.length - 1)).join('/');
  return `/${folder}`;
}
