/** Makes the agent's bundle for an installed package, which has no sources to make it from: `npm run build`. */
import { resolve } from 'node:path';

import { writeBundle } from '../src/agent/agent.ts';

await writeBundle(resolve(import.meta.dirname, '..'));
