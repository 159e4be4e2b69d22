/** `layers/tools.yaml`: what the tools root is made of. */
import * as z from 'zod';

import { PackageName } from './layer.ts';

export const ToolsDefinition = z
  .strictObject({
    base: z.string().describe('Name of the base layer whose archives it is made from.'),
    release: z.string().describe('Release of that base.'),
    packages: z.array(PackageName).min(1).describe('Debian packages that hold the tools.'),
  })
  .meta({
    title: 'Ingot tools root',
    description: 'The small system that ostree, GRUB, QEMU and friends are run from.',
  });
export type ToolsDefinition = z.infer<typeof ToolsDefinition>;
