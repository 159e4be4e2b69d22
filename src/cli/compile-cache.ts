/**
 * Compiled code is kept from run to run: a third of the time to the first line. In the user's own folder, never in /tmp,
 * where somebody else could lay out code for us. It works for what is loaded after this, so programs import what
 * they need dynamically.
 */
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

enableCompileCache(process.env['NODE_COMPILE_CACHE'] ?? join(homedir(), '.cache/ingot-code'));
