/** Makes the agent's bundle for an installed package, which has no sources to make it from: `npm run build`. */
import { resolve } from 'node:path';

import { BUILT_BUNDLE, makeBundle } from '../src/agent/agent.ts';
import { writeFileAtomically } from '../src/store/store.ts';

const root = resolve(import.meta.dirname, '..');
const { code, licenses } = await makeBundle(root);
await writeFileAtomically(resolve(root, BUILT_BUNDLE, 'ingot.mjs'), code);
await writeFileAtomically(resolve(root, BUILT_BUNDLE, 'LICENSES'), licenses);
