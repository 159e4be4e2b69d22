/** `ingot schema`: JSON Schemas of the files that people write. */
import { Argument, Command } from 'commander';
import { resolve } from 'node:path';

import { errnoOf, IngotError } from '../../errors.ts';
import { writeFileAtomically } from '../../store/store.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { renderSchema, SCHEMA_NAMES, schemaFileName, schemaOf, type SchemaName } from '../schemas.ts';

interface SchemaOptions {
  readonly write?: string;
}

export function schemaCommand(bind: Bind): Command {
  return new Command('schema')
    .description('print a JSON Schema, or write all of them')
    .addArgument(
      new Argument('[name]', 'which file it describes').choices(SCHEMA_NAMES).default('node-image'),
    )
    .option('--write <dir>', 'write every schema into this folder')
    .addHelpText(
      'after',
      `
Editors complete and check declarations that name their schema in the first lines:
  # yaml-language-server: $schema=../schema/node-image.schema.json

Examples:
  ingot schema                    the schema of a declaration
  ingot schema layer              the schema of a layer definition
  ingot schema --write schema     all of them, as files
`,
    )
    .action(
      bind((context, name: SchemaName, options: SchemaOptions) =>
        options.write === undefined
          ? Promise.resolve({ json: { name, schema: schemaOf(name) }, text: renderSchema(name) })
          : writeSchemas(context, options.write),
      ),
    );
}

async function writeSchemas(context: CommandContext, folder: string): Promise<CommandResult> {
  const written: string[] = [];
  for (const name of SCHEMA_NAMES) {
    const path = resolve(context.cwd, folder, schemaFileName(name));
    try {
      await writeFileAtomically(path, renderSchema(name));
    } catch (error) {
      throw new IngotError('ENVIRONMENT', `cannot write ${path} (${errnoOf(error) ?? 'error'})`, {
        hint: 'name a folder that can be written with --write',
        cause: error,
      });
    }
    written.push(path);
  }
  return { json: { written }, text: written.map((path) => `${path}\n`).join('') };
}
