/** Writes newc archives, for tests that read them. */
export interface CpioFile {
  readonly path: string;
  readonly contents?: string | Buffer;
  readonly mode?: number;
}

export function renderCpio(files: readonly CpioFile[]): Buffer {
  const parts = [...files, { path: 'TRAILER!!!', mode: 0 }].flatMap((file, index) => {
    const contents = Buffer.from('contents' in file ? (file.contents ?? '') : '');
    const name = Buffer.from(`${file.path}\0`);
    const fields = [index, file.mode ?? 0o100644, 0, 0, 1, 0, contents.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    return [pad(Buffer.concat([Buffer.from(header), name])), pad(contents)];
  });
  return Buffer.concat(parts);
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
