import { expect, test } from 'vitest';

import { pinQuadlet, quadletImage, quadletProblem, renderQuadlet } from './quadlet.ts';

const REFERENCE = /^[a-z.]+\/[a-z]+:\d+$/;
const PINNED = { image: 'reg.example/a@sha256:0a', store: '/store', after: 'first.service' };

test('a container becomes a quadlet', () => {
  const text = renderQuadlet({
    name: 'server',
    image: 'reg.example/a:1',
    publish: ['8080:80'],
    volumes: ['/srv/100%:/data:ro'],
    devices: ['nvidia.com/gpu=all'],
    environment: { B: 'a "word", 5 $ and 100 %', A: 'back\\slash' },
    exec: 'serve --now',
    network: 'host',
    after: ['a.service', 'b.target'],
  });
  expect(text).toBe(`[Unit]
Description=server
After=a.service
After=b.target

[Container]
Image=reg.example/a:1
PublishPort=8080:80
Volume=/srv/100%%:/data:ro
AddDevice=nvidia.com/gpu=all
Environment="A=back\\\\slash"
Environment="B=a \\"word\\", 5 $$ and 100 %%"
Network=host
Exec=serve --now

[Service]
Restart=on-failure

[Install]
WantedBy=multi-user.target
`);
  expect(renderQuadlet({ name: 'a', image: 'b', enabled: false })).not.toContain('[Install]');
});

test('pinning replaces the image and nothing else', () => {
  const text =
    '# Image=not:this\n[Unit]\nImage=nor:this\n[Container]\n  Image = reg.example/a:1 \nExec=x \\\nImage=part\n';
  expect(quadletImage(text)).toBe('reg.example/a:1');
  expect(pinQuadlet(text, PINNED)).toBe(`# Image=not:this
[Unit]
Image=nor:this
[Container]
Image=reg.example/a@sha256:0a
Pull=never
GlobalArgs=--storage-opt=additionalimagestore=/store
Exec=x \\
Image=part

[Unit]
Requires=first.service
After=first.service
`);
  expect(pinQuadlet('[Container]\nImage={image}\nPull=never', PINNED).match(/Pull=/g)).toHaveLength(1);
  expect(() => pinQuadlet('[Pod]\n', PINNED)).toThrow(TypeError);
});

test.each([
  ['[Container]\nImage=reg.example/a:1\n', undefined],
  ['[Container]\nImage=reg.example/a:1\nPull=never\n', undefined],
  ['[Unit]\nImage=reg.example/a:1\n', /no Image= in a section/],
  ['[Container]\nImage=reg.example/a:1\nImage=reg.example/a:2\n', /more than one/],
  ['[Container]\nImage=a.image\n', /must have after Image=/],
  ['[Container]\nImage=reg.example/a:1\nPull=newer\n', /has Pull=/],
] as const)('%j', (text, problem) => {
  const found = quadletProblem(text, REFERENCE);
  if (problem === undefined) expect(found).toBeUndefined();
  else expect(found).toMatch(problem);
});
