/**
 * `repodata/repomd.xml`, the index of a repository's indexes, as createrepo_c writes it; and lists of mirrors. Only
 * what is needed is taken out of them, and what does not look like it is refused. Pure.
 */
import * as z from 'zod';

export const MetadataFile = z.strictObject({
  type: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  size: z.int().positive(),
  /** Relative to the root of the repository. */
  location: z.string().regex(/^repodata\/[A-Za-z0-9][\w.+-]*$/),
});
export type MetadataFile = z.infer<typeof MetadataFile>;

/** What dnf solves with: packages, all their files, and streams of modules. */
const WANTED = ['primary', 'filelists', 'modules'];

/** @throws Error for what is no index, or has no SHA-256 for what is needed */
export function parseRepomd(text: string): MetadataFile[] {
  const blocks = [...text.matchAll(/<data\s+type="([\w-]+)"\s*>([\s\S]*?)<\/data>/g)];
  const files = blocks.flatMap(([, type = '', body = '']): MetadataFile[] => {
    if (!WANTED.includes(type)) return [];
    const field = (pattern: RegExp): string => pattern.exec(body)?.[1]?.trim() ?? '';
    const parsed = MetadataFile.safeParse({
      type,
      sha256: field(/<checksum\s+type="sha256"\s*>([^<]*)<\/checksum>/),
      size: Number(field(/<size>([^<]*)<\/size>/)),
      location: field(/<location\s+href="([^"]*)"\s*\/>/),
    });
    if (!parsed.success)
      throw new Error(`its repomd.xml does not say the SHA-256, size and place of ${type}`);
    return [parsed.data];
  });
  if (!files.some(({ type }) => type === 'primary')) throw new Error('its repomd.xml names no primary index');
  return files;
}

/** An index of just these files. */
export function renderRepomd(files: readonly MetadataFile[]): string {
  const blocks = files.map(
    ({ type, sha256, size, location }) =>
      `<data type="${type}"><checksum type="sha256">${sha256}</checksum><location href="${location}"/><size>${size}</size></data>`,
  );
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<repomd xmlns="http://linux.duke.edu/metadata/repo">',
    ...blocks,
    '</repomd>',
    '',
  ].join('\n');
}

/** Roots of repositories, out of a list of lines or a metalink (RFC 5854's older sister), in their order. */
export function parseMirrorList(text: string): string[] {
  const urls = text.includes('<metalink')
    ? [...text.matchAll(/<url\b[^>]*>\s*([^<\s]+)\s*<\/url>/g)].map(([, url = '']) =>
        url.replaceAll('&amp;', '&').replace(/\/repodata\/repomd\.xml$/, ''),
      )
    : text.split('\n').map((line) => line.trim());
  return urls.filter((url) => /^(?:https?|file):\/\//.test(url)).map((url) => url.replace(/\/+$/, ''));
}
