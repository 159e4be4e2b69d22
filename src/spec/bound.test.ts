import { describe, expect, it } from 'vitest';

import { complaints, HEAD } from '../../test/support/complaints.ts';
import type { NodeImage } from './node-image.ts';
import { declarationDigest } from './normalise.ts';
import { parseSpec } from './parse.ts';

const AGENT = `${HEAD}agent: true\n`;

async function parse(text: string): Promise<NodeImage> {
  return (await parseSpec(AGENT + text, 'node.yaml')).image;
}

describe('containers and models', () => {
  it('have defaults, and bring Podman along', async () => {
    const image = await parse(`containers: [{ name: web, image: 'localhost:5000/ai/web:1' }]
models: [{ name: tiny, artifact: 'reg.example.com/tiny@sha256:${'0a'.repeat(32)}' }]
`);
    expect(image.addons).toEqual(['podman']);
    expect(image.models).toEqual([
      {
        name: 'tiny',
        artifact: `reg.example.com/tiny@sha256:${'0a'.repeat(32)}`,
        path: '/usr/share/models/tiny',
      },
    ]);
    expect(image.containers).toMatchObject([{ name: 'web', image: 'localhost:5000/ai/web:1' }]);
    expect(image.containers?.[0]?.quadlet).toContain('Image=localhost:5000/ai/web:1\n');
  });

  it('leave the digest of a declaration without them as it was', async () => {
    const without = await parse('');
    expect(Object.keys(without)).not.toContain('containers');
    expect(declarationDigest(await parse('containers: []\nmodels: []\n'))).toBe(declarationDigest(without));
    expect((await parse('models: [{ name: a, artifact: reg.example.com/a:1 }]')).addons).toEqual([]);
  });

  it('take a quadlet as it is', async () => {
    const image = await parse(`addons: [podman]
containers:
  - name: web
    quadlet: |
      [Container]
      Image=reg.example.com/web:2
`);
    expect(image.addons).toEqual(['podman']);
    expect(image.containers).toEqual([
      {
        name: 'web',
        image: 'reg.example.com/web:2',
        quadlet: '[Container]\nImage=reg.example.com/web:2\n',
      },
    ]);
  });
});

describe('mistakes', () => {
  it('are all said at once, each at its place', async () => {
    const text = `${HEAD}containers:
  - { name: web, image: web:1 }
  - { name: Web, image: reg.example.com/web }
  - { name: both, image: reg.example.com/web:1, quadlet: "[Container]\\nImage=reg.example.com/a:1\\n" }
  - { name: none }
  - { name: text, quadlet: "[Container]\\nExec=x\\n" }
  - { name: odd, image: reg.example.com/a:1, publish: ["x"], volumes: [relative], environment: { "A B": c } }
models:
  - { name: m, artifact: tiny, path: /var/lib/models }
`;
    const found = await complaints(text);
    const expected = [
      /^3:1 containers need `agent: true`/,
      /^4:25 .*a registry, a path, and a tag or a digest/,
      /^5:13 .*lower-case letters/,
      /^5:25 .*a registry, a path, and a tag/,
      /^6:5 .*has a quadlet, which says everything: `image` belongs into its text/,
      /^7:5 .*must have `image`, or the text of a `quadlet`/,
      /^8:28 .*is no quadlet of a container/,
      /^9:56 .*ports as Podman has them/,
      /^9:72 .*a path or a volume/,
      /^9:98 .*the name of a variable/,
      /^10:1 models need `agent: true`/,
      /^11:26 .*a registry, a path/,
      /^11:38 .*an absolute path under \/etc or \/usr/,
    ];
    expect(found).toEqual(expected.map((one) => expect.stringMatching(one) as string));
  });

  it.each([
    ['containers: [{name: a, image: reg.example.com/a:1}]', /containers need `agent: true`/],
    ['models: [{name: a, artifact: reg.example.com/a:1}]', /models need `agent: true`/],
    ['agent: false\nmodels: [{name: a, artifact: reg.example.com/a:1}]', /models need `agent: true`/],
    [
      'agent: true\ncontainers: [{name: a, image: reg.example.com/a:1}, {name: a, image: reg.example.com/a:2}]',
      /the container "a" is given twice/,
    ],
    [
      'agent: true\ncontainers: [{name: a, image: reg.example.com/a:1}]\nunits: [{name: a.service, enabled: true}]',
      /"a.service" is declared in units too/,
    ],
    ['agent: true\ncontainers: [{name: ingot-bound, image: reg.example.com/a:1}]', /of Ingot’s own/],
    [
      'agent: true\ncontainers: [{name: a, image: reg.example.com/a:1}]\nfiles: [{path: /usr/share/containers/systemd/a.container, content: x}]',
      /is written by Ingot itself, out of containers/,
    ],
    [
      'agent: true\nmodels: [{name: a, artifact: reg.example.com/a:1}, {name: b, artifact: reg.example.com/b:1, path: /usr/share/models/a/b}]',
      /the model is at "\/usr\/share\/models\/a\/b", and "\/usr\/share\/models\/a" is in its way/,
    ],
    [
      'agent: true\nmodels: [{name: a, artifact: reg.example.com/a:1, path: /etc/a}]\nfiles: [{path: /etc/a/b, content: x}]',
      /"\/etc\/a\/b" is in its way/,
    ],
    [
      'agent: true\nmodels: [{name: a, artifact: reg.example.com/a:1, path: /etc/a}, {name: a, artifact: reg.example.com/a:1, path: /etc/b}]',
      /the model "a" is given twice/,
    ],
  ])('%s', async (text, message) => {
    const found = await complaints(`${HEAD}${text}\n`);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
  });
});
