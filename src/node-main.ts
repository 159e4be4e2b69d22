/**
 * `ingot node` alone, which a node runs at every start and every update. The agent has a bundle of it: reading one with
 * all that builds images takes longer than what the command does.
 */
import './cli/compile-cache.ts';

const { nodeCommand } = await import('./cli/commands/node.ts');
const { start } = await import('./cli/start.ts');

await start(new Map([['node', () => Promise.resolve(nodeCommand)]]));
