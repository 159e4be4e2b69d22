import type { FileHandle } from 'node:fs/promises';

/** Whether all of `into` could be read from `offset` on. */
export async function readRange(file: FileHandle, offset: number, into: Buffer): Promise<boolean> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}
