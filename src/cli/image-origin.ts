/** The image that a command publishes: one that is somewhere, or what was built of a declaration. */
import { parseLocation, type ImageOrigin } from '../publish/location.ts';
import { IngotError } from '../errors.ts';
import type { Lock } from '../resolve/lock.ts';
import type { CommandContext } from './context.ts';
import { DECLARATION, findBuiltImage, LOCK_FILE } from './find-built.ts';
import { openCatalog, openSpec } from './load-image.ts';

export interface OriginOptions {
  /** One variant of a declaration, and no index. */
  readonly variant?: string | undefined;
  /** The layout that a declaration was built into. */
  readonly layout?: string | undefined;
}

export interface FoundOrigin {
  readonly from: ImageOrigin;
  /** Of what was built of a declaration. */
  readonly locks: readonly Lock[];
}

/**
 * A declaration with variants for other architectures is one image of them all: itself, and the variant of each.
 *
 * @throws IngotError USAGE, NOT_FOUND, LOCK_MISSING; FindingsError
 */
export async function findOrigin(
  context: CommandContext,
  argument: string,
  options: OriginOptions = {},
): Promise<FoundOrigin> {
  if (LOCK_FILE.test(argument)) {
    throw new IngotError('USAGE', `${argument} is a lock`, {
      hint: `name the declaration, such as ${argument.replace(/(?:@[^@/]*)?\.lock(\.ya?ml)$/, '$1')}`,
    });
  }
  const { variant, layout } = options;
  if (!DECLARATION.test(argument)) {
    for (const [name, value] of Object.entries({ variant, layout })) {
      if (value === undefined) continue;
      throw new IngotError('USAGE', `--${name} is for declarations, and ${argument} is none`, {
        hint: 'name the image itself: oci:DIRECTORY:NAME',
      });
    }
    return { from: parseLocation(argument, context.cwd), locks: [] };
  }
  const variants = variant === undefined ? await variantsByPlatform(context, argument) : [variant];
  if (variants.length > 1 && layout !== undefined) {
    throw new IngotError(
      'USAGE',
      `${argument} was built into ${variants.length} layouts, and --layout names one`,
      {
        hint: 'name the variant too with --variant, or join the images with `ingot index`',
      },
    );
  }
  const built = [];
  for (const one of variants) {
    built.push(await findBuiltImage(context, argument, { variant: one, output: layout }));
  }
  const [first, ...more] = built;
  if (first === undefined) throw new TypeError('a declaration is of one image at least');
  return {
    from:
      more.length === 0
        ? first.location
        : { kind: 'joined', images: built.map(({ ref, location }) => ({ text: ref, location })) },
    locks: built.map(({ lock }) => lock),
  };
}

/** The declaration itself (undefined), and its variants for other architectures. */
async function variantsByPlatform(context: CommandContext, file: string): Promise<(string | undefined)[]> {
  const catalog = await openCatalog(context, [file]);
  const whole = await openSpec(context, file, undefined, catalog);
  const found = new Map<string, string | undefined>([[whole.image.architecture, undefined]]);
  for (const name of whole.variants) {
    const { architecture } = (await openSpec(context, file, name, catalog)).image;
    if (architecture === whole.image.architecture) continue;
    const other = found.get(architecture);
    if (other !== undefined) {
      throw new IngotError('USAGE', `${file} has two variants for ${architecture}: ${other} and ${name}`, {
        hint: 'push each by itself with --variant, or join the ones that you mean with `ingot index`',
      });
    }
    found.set(architecture, name);
  }
  return [...found.values()];
}
