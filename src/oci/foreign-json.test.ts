import { expect, test } from 'vitest';
import * as z from 'zod';

import { parseForeignJson } from './foreign-json.ts';

const Names = z.array(z.object({ name: z.string() }));

test('what the schema takes is taken, without what it does not know', () => {
  expect(parseForeignJson('[{"name":"a","more":1}]', Names)).toEqual([{ name: 'a' }]);
});

test.each([undefined, '', '[', '[{}]', '"a"'])('%s is left out', (text) => {
  expect(parseForeignJson(text, Names)).toBeUndefined();
});
