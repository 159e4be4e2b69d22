/** Every JSON Schema that Ingot publishes, by the name of its file in `schema/`. */
import { layerJsonSchema, toolsJsonSchema } from '../catalog/json-schema.ts';
import { jsonSchemaOf, nodeImageJsonSchema } from '../spec/json-schema.ts';
import { TrustPolicyInput } from '../trust/policy-schema.ts';

export const SCHEMA_NAMES = ['node-image', 'layer', 'tools', 'trust'] as const;
export type SchemaName = (typeof SCHEMA_NAMES)[number];

const MAKERS: Readonly<Record<SchemaName, () => Readonly<Record<string, unknown>>>> = {
  'node-image': nodeImageJsonSchema,
  layer: layerJsonSchema,
  tools: toolsJsonSchema,
  trust: () => jsonSchemaOf(TrustPolicyInput),
};

export function schemaOf(name: SchemaName): Readonly<Record<string, unknown>> {
  return MAKERS[name]();
}

export function schemaFileName(name: SchemaName): string {
  return `${name}.schema.json`;
}

/** The text of the file, newline included. */
export function renderSchema(name: SchemaName): string {
  return `${JSON.stringify(schemaOf(name), null, 2)}\n`;
}
