/** JSON Schemas of the catalogue's files. */
import { jsonSchemaOf } from '../spec/json-schema.ts';
import { LayerDefinition } from './layer.ts';
import { ToolsDefinition } from './tools.ts';

export function layerJsonSchema(): Readonly<Record<string, unknown>> {
  return jsonSchemaOf(LayerDefinition);
}

export function toolsJsonSchema(): Readonly<Record<string, unknown>> {
  return jsonSchemaOf(ToolsDefinition);
}
