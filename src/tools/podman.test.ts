import { expect, test } from 'vitest';

import { parseStoredImages, podmanPullFolderArgv } from './podman.ts';

const STORE = { root: '/store', run: '/run/store' };

// Podman 5.4.2, shortened.
const IMAGES = `[
    {
        "Id": "4d57e422a64a3cff003fc995df04204b9724423c8500a5149ad21bb0d0c11402",
        "ParentId": "",
        "RepoTags": null,
        "RepoDigests": [],
        "Size": 768988,
        "Labels": null,
        "Containers": 0,
        "Dangling": true,
        "Digest": "sha256:833d9a385f697b32378993042e9219b172ec74c3b5f3956ca16bd89edf331629",
        "Created": 1795990959
    },
    {
        "Id": "5d57e422a64a3cff003fc995df04204b9724423c8500a5149ad21bb0d0c11402",
        "RepoTags": null,
        "Names": ["registry.example.com/a/b:1"],
        "Digest": "sha256:933d9a385f697b32378993042e9219b172ec74c3b5f3956ca16bd89edf331629"
    }
]`;

test('images of a store are told by digest, with names or without', () => {
  expect(parseStoredImages(IMAGES).map(({ digest, names }) => [digest.slice(0, 10), names])).toEqual([
    ['sha256:833', []],
    ['sha256:933', ['registry.example.com/a/b:1']],
  ]);
  expect(parseStoredImages('[]')).toEqual([]);
});

test('every command is about a store of its own', () => {
  expect(podmanPullFolderArgv(STORE, '/scratch/image', '/scratch/policy.json').join(' ')).toBe(
    'podman --root /store --runroot /run/store --storage-driver overlay pull --quiet --signature-policy /scratch/policy.json dir:/scratch/image',
  );
});
