/** All of Ingot. */
import './cli/compile-cache.ts';

const { COMMANDS } = await import('./cli/commands.ts');
const { start } = await import('./cli/start.ts');

await start(COMMANDS);
