/** The licences of what is bundled: their terms ask that the text goes along. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

const LICENSE_FILE = /^(?:licen[cs]e|copying)(?:\.(?:md|txt))?$/i;

const PackageLock = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string(),
      license: z.string().optional(),
      dev: z.boolean().optional(),
      optional: z.boolean().optional(),
      /** An optional peer of what is bundled, and there for the tests. */
      devOptional: z.boolean().optional(),
    }),
  ),
});

/** Ingot's licence and that of every package that it runs with, by name. Optional ones are not bundled. */
export async function collectLicenses(productRoot: string): Promise<string> {
  const lock = PackageLock.parse(JSON.parse(await readFile(join(productRoot, 'package-lock.json'), 'utf8')));
  const bundled = Object.entries(lock.packages)
    .filter(([, { dev, optional, devOptional }]) => ![dev, optional, devOptional].includes(true))
    .sort(([left], [right]) => (left < right ? -1 : 1));
  const sections = bundled.map(async ([path, { version, license }]) => {
    const name = path === '' ? 'ingot' : path.replace(/^.*node_modules\//, '');
    const text = await readLicense(join(productRoot, path));
    return `== ${name} ${version}${license === undefined ? '' : ` (${license})`}\n\n${text}`;
  });
  return (await Promise.all(sections)).join('\n');
}

const PackageJson = z.object({
  license: z.string().default('no licence'),
  author: z.union([z.string(), z.object({ name: z.string() })]).default('its authors'),
});

/** Some packages bring no file: then what they say of themselves, as the terms are at others with the same licence. */
async function readLicense(folder: string): Promise<string> {
  const [file] = (await readdir(folder)).filter((name) => LICENSE_FILE.test(name)).sort();
  if (file !== undefined) return `${(await readFile(join(folder, file), 'utf8')).trim()}\n`;
  const { license, author } = PackageJson.parse(
    JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')),
  );
  const who = typeof author === 'string' ? author : author.name;
  return `Copyright ${who}. This package brings no file with its licence and says that it is ${license}: its terms are those at\nthe other packages with this licence.\n`;
}
