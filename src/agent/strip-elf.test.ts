import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { run } from '../proc/run.ts';
import { stripElf } from './strip-elf.ts';

const SHT_SYMTAB = 2;

/** Names and types of the sections, by the table in the file. */
function sectionsOf(elf: Buffer): readonly { readonly name: string; readonly type: number }[] {
  const table = Number(elf.readBigUInt64LE(40));
  const headerAt = (index: number): Buffer => elf.subarray(table + index * 64, table + index * 64 + 64);
  const names = Number(headerAt(elf.readUInt16LE(62)).readBigUInt64LE(24));
  return Array.from({ length: elf.readUInt16LE(60) }, (_, index) => {
    const start = names + headerAt(index).readUInt32LE(0);
    return {
      name: elf.toString('latin1', start, elf.indexOf(0, start)),
      type: headerAt(index).readUInt32LE(4),
    };
  });
}

describe('stripping', () => {
  it('leaves a program that runs, without its symbols, and nothing to take out a second time', async () => {
    const program = await readFile(process.execPath);
    expect(sectionsOf(program).some(({ type }) => type === SHT_SYMTAB)).toBe(true);
    const stripped = stripElf(program);
    expect(stripped.length).toBeLessThan(program.length * 0.9);
    const sections = sectionsOf(stripped);
    expect(sections.some(({ type }) => type === SHT_SYMTAB)).toBe(false);
    expect(sections.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['', '.text', '.rodata', '.dynsym', '.eh_frame', '.data', '.bss', '.shstrtab']),
    );
    expect(stripElf(stripped).equals(stripped)).toBe(true);

    const folder = await mkdtemp(join(tmpdir(), 'ingot-strip-'));
    try {
      const path = join(folder, 'node');
      await writeFile(path, stripped, { mode: 0o755 });
      const script = 'console.log(process.version, new Intl.NumberFormat("de").format(1234.5))';
      expect((await run([path, '-e', script])).stdout).toBe(`${process.version} 1.234,5`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('refuses what is no program, and one that is cut short', async () => {
    expect(() => stripElf(Buffer.from('#!/bin/sh\n'.repeat(20)))).toThrow(/no 64-bit ELF file/);
    const program = await readFile(process.execPath);
    expect(() => stripElf(program.subarray(0, program.length >> 1))).toThrow(/has no sections/);
    const other = Buffer.from(program.subarray(0, 4096));
    other[4] = 1; // 32 bit
    expect(() => stripElf(other)).toThrow(/no 64-bit ELF file/);
  });
});
