import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { renderSchema, SCHEMA_NAMES, schemaFileName, schemaOf } from './schemas.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('JSON Schemas', () => {
  it.each(SCHEMA_NAMES)('schema/%s.schema.json is what `npm run schema` writes', async (name) => {
    expect(await readFile(join(ROOT, 'schema', schemaFileName(name)), 'utf8')).toBe(renderSchema(name));
  });

  it('describe every key of a declaration', () => {
    const properties = schemaOf('node-image')['properties'] as Record<string, { description?: string }>;
    expect(Object.keys(properties)).toContain('agent');
    for (const [key, { description }] of Object.entries(properties)) {
      expect(description, key).toMatch(/\.$/);
    }
  });

  it('have patterns that a Unicode regular expression takes', () => {
    for (const name of SCHEMA_NAMES) {
      const patterns = [...renderSchema(name).matchAll(/"pattern": (".*?[^\\]")/g)];
      for (const [, text = '""'] of patterns) {
        expect(() => new RegExp(JSON.parse(text) as string, 'u')).not.toThrow();
      }
    }
  });
});
