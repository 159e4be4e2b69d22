import { describe, expect, it } from 'vitest';

import { complaints, findingsOf, HEAD, show } from '../../test/support/complaints.ts';
import { IngotError } from '../errors.ts';
import { parseSpec, type ParseOptions } from './parse.ts';

describe('variants', () => {
  const text = `${HEAD}packages: [htop]
kernel: generic
users: [{name: ada, uid: 1001}]
variants:
  - name: cloud
    kernel: cloud
    packages: [jq]
  - name: lab
    users: [{name: ada, uid: 1002}, {name: bob}]
`;

  it('override the declaration', async () => {
    const cloud = await parseSpec(text, 'node.yaml', { variant: 'cloud' });
    expect(cloud.image).toMatchObject({
      name: 'node',
      variant: 'cloud',
      kernel: { flavour: 'cloud' },
      packages: ['htop', 'jq'],
    });
    expect(cloud.variants).toEqual(['cloud', 'lab']);
    expect(cloud.sources.at(['packages', 1])).toMatchObject({ line: 9, column: 16 });
    const lab = await parseSpec(text, 'node.yaml', { variant: 'lab' });
    expect(lab.image.users.map(({ name, uid }) => [name, uid])).toEqual([
      ['ada', 1002],
      ['bob', undefined],
    ]);
    expect((await parseSpec(text, 'node.yaml')).image.variant).toBeUndefined();
  });

  it('are known by name', async () => {
    const error: unknown = await parseSpec(text, 'node.yaml', { variant: 'cluod' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(IngotError);
    expect(error).toMatchObject({
      code: 'IMAGE_UNKNOWN',
      message: 'node.yaml has no variant "cluod"',
      hint: 'did you mean "cloud"? it declares: cloud, lab',
    });
  });

  it('are checked together with what they override', async () => {
    expect(
      await complaints(`${HEAD}users: [{name: ada, uid: 1001}]
variants:
  - {name: x, users: [{name: bob, uid: 1001}]}
`),
    ).toEqual(['5:40 uid 1001 already belongs to "ada"']);
  });
});

describe('extends', () => {
  const files: Record<string, string> = {
    'dir/common.yaml': 'base: debian@13\nkernel: {flavour: cloud, version: "6.12"}\npackages: [htop, jq=1]\n',
    'dir/ssh.yaml': 'addons: [ssh]\nkernel: {version: "6.13"}\nhostname: ssh\n',
    'dir/loop.yaml': 'extends: [./common.yaml, ../node.yaml]\n',
    'dir/bad.yaml': 'base: debian@13\nkernal: x\npackages: [Bad]\n',
    'dir/broken.yaml': 'a: [\n',
  };
  const options: ParseOptions = {
    readExtended: (file) => {
      const text = files[file];
      return text === undefined
        ? Promise.reject(new IngotError('IMAGE_UNKNOWN', `cannot read ${file}: there is no such file`))
        : Promise.resolve(text);
    },
  };
  const failures = async (text: string): Promise<string[]> =>
    (await findingsOf(text, options)).map((finding) => `${finding.location?.file ?? ''}:${show(finding)}`);

  it('merges mappings, appends lists, replaces single values, the nearer winning', async () => {
    const { image, sources } = await parseSpec(
      'name: node\nextends: [dir/common.yaml, ./dir/ssh.yaml]\npackages: [jq=2, vim]\nhostname: own\n',
      'node.yaml',
      options,
    );
    expect(image).toMatchObject({
      base: { name: 'debian', release: '13' },
      kernel: { flavour: 'cloud', version: '6.13' },
      addons: ['ssh'],
      packages: ['htop', 'jq=2', 'vim'],
      hostname: 'own',
    });
    expect(sources.at(['kernel', 'flavour'])).toEqual({ file: 'dir/common.yaml', line: 2, column: 19 });
    expect(sources.keyAt(['kernel', 'version'])).toEqual({ file: 'dir/ssh.yaml', line: 2, column: 10 });
    expect(sources.at(['packages', 0])).toEqual({ file: 'dir/common.yaml', line: 3, column: 12 });
    expect(sources.at(['packages', 1])).toEqual({ file: 'node.yaml', line: 3, column: 12 });
    expect(sources.at(['base', 'name'])).toEqual({ file: 'dir/common.yaml', line: 1, column: 7 });
  });

  it('points into the file that has the mistake', async () => {
    expect(await failures('name: node\nextends: dir/bad.yaml\nunits: no\n')).toEqual([
      'node.yaml:3:8 units must be a list, not text',
      'dir/bad.yaml:2:1 unknown key "kernal"',
      'dir/bad.yaml:3:12 packages[0] must be a Debian package name, or name=version, not "Bad"',
    ]);
    expect((await failures('name: node\nextends: dir/broken.yaml\nbase: debian@13'))[0]).toMatch(
      /^dir\/broken\.yaml:2:1 not valid YAML/,
    );
  });

  it('finds files that are not there, and circles', async () => {
    expect(await failures(`${HEAD}extends: nope.yaml`)).toEqual([
      'node.yaml:3:10 cannot extend "nope.yaml": cannot read nope.yaml: there is no such file',
    ]);
    expect(await failures(`${HEAD}extends: [dir/loop.yaml]`)).toEqual([
      'dir/loop.yaml:1:26 extends itself: node.yaml → dir/loop.yaml → node.yaml',
    ]);
    expect(await failures(`${HEAD}extends: ./node.yaml`)).toEqual([
      'node.yaml:3:10 extends itself: node.yaml → node.yaml',
    ]);
  });

  it('takes one file by two ways', async () => {
    const { image } = await parseSpec(
      'name: node\nextends: [dir/common.yaml, dir/common.yaml]\n',
      'node.yaml',
      options,
    );
    expect(image.packages).toEqual(['htop', 'jq=1']);
  });
});
