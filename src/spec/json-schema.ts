/** The declaration's JSON Schema, for editors and other programs; generated, so that it never says anything else. */
import * as z from 'zod';

import { NodeImageInput } from './schema.ts';

/** Draft 7, which editors' YAML support knows best. Describes what is written, before defaults are filled in. */
export function jsonSchemaOf(schema: z.ZodType): Readonly<Record<string, unknown>> {
  return z.toJSONSchema(schema, { io: 'input', target: 'draft-7' });
}

export function nodeImageJsonSchema(): Readonly<Record<string, unknown>> {
  return jsonSchemaOf(NodeImageInput);
}
