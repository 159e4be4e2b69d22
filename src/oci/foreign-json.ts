/** JSON inside what anybody may have written: annotations of an image, metadata of a commit. */
import type * as z from 'zod';

/** What the schema makes of the text; undefined for what it does not take, and for what is no JSON. */
export function parseForeignJson<Schema extends z.ZodType>(
  text: string | undefined,
  schema: Schema,
): z.infer<Schema> | undefined {
  if (text === undefined) return undefined;
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
