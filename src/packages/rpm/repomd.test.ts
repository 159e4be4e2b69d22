import { describe, expect, it } from 'vitest';

import { parseMirrorList, parseRepomd, renderRepomd } from './repomd.ts';

const sha = (digit: string): string => digit.repeat(64);
const data = (type: string, digit: string, location = `repodata/${sha(digit)}-${type}.xml.zst`): string => `
  <data type="${type}">
    <checksum type="sha256">${sha(digit)}</checksum>
    <open-checksum type="sha256">${sha('f')}</open-checksum>
    <location href="${location}"/>
    <timestamp>1700000000</timestamp>
    <size>123</size>
    <open-size>456</open-size>
  </data>`;
const repomd = (...blocks: string[]): string =>
  `<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>${blocks.join('')}</repomd>`;

describe('parseRepomd', () => {
  it('takes what dnf solves with, and leaves the rest', () => {
    const files = parseRepomd(repomd(data('primary', 'a'), data('filelists', 'b'), data('other', 'c')));
    expect(files.map(({ type, sha256, size }) => [type, sha256, size])).toEqual([
      ['primary', sha('a'), 123],
      ['filelists', sha('b'), 123],
    ]);
    expect(parseRepomd(renderRepomd(files))).toEqual(files);
  });

  it.each([
    ['no primary index', repomd(data('filelists', 'b'))],
    ['a place outside', repomd(data('primary', 'a', '../../etc/passwd'))],
    ['another hash', repomd(data('primary', 'a').replaceAll('sha256', 'sha'))],
    ['a page in its place', '<html>Not found</html>'],
  ])('refuses %s', (_what, text) => {
    expect(() => parseRepomd(text)).toThrow(/repomd\.xml/);
  });
});

describe('parseMirrorList', () => {
  it('reads lines and metalinks', () => {
    expect(
      parseMirrorList('# comment\nhttps://one.example/os/\n\nhttp://two.example/os\nftp://three\n'),
    ).toEqual(['https://one.example/os', 'http://two.example/os']);
    const metalink =
      '<metalink><resources><url protocol="https" preference="100">https://one.example/os/repodata/repomd.xml</url>' +
      '<url protocol="rsync">rsync://two.example/os/repodata/repomd.xml</url></resources></metalink>';
    expect(parseMirrorList(metalink)).toEqual(['https://one.example/os']);
  });
});
