/**
 * Takes out of an executable what does not run: symbols and debugging information. What `strip` does, without a
 * program whose version would have a say in the bytes. ELF as in the System V ABI, chapters 4 and 5.
 */
import { IngotError } from '../errors.ts';

const HEADER_BYTES = 64;
const SECTION_BYTES = 64;
const PROGRAM_BYTES = 56;
const SHT_STRTAB = 3;
const SHT_NOBITS = 8;
const SHF_ALLOC = 2n;
const NAMES = '.shstrtab';

/** Offsets in the header of a 64-bit file. */
const E_PHOFF = 32;
const E_SHOFF = 40;
const E_PHNUM = 56;
const E_SHNUM = 60;
const E_SHSTRNDX = 62;

/** A section header as it stands, with its name. */
interface Section {
  readonly header: Buffer;
  readonly name: string;
  readonly isLoaded: boolean;
  /** Where its bytes end in the file. */
  readonly end: number;
}

/**
 * The same program without the sections that are not loaded into memory.
 *
 * @throws IngotError BUILD_FAILED for what is no 64-bit little-endian ELF file, or one laid out in another way than
 *   linkers do
 */
export function stripElf(elf: Buffer): Buffer {
  if (elf.length < HEADER_BYTES || elf.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') {
    throw refusal('is no 64-bit ELF file');
  }
  const sections = readSections(elf);
  const kept = sections.filter(({ isLoaded }, index) => isLoaded || index === 0);
  // Sections point at each other by number: the kept ones must keep theirs.
  if (kept.some((section, index) => section !== sections[index])) {
    throw refusal('has sections that are loaded behind some that are not');
  }
  const contentEnd = Math.max(...kept.map(({ end }) => end), ...segmentEnds(elf));
  const names = Buffer.from(`\0${[...kept.slice(1).map(({ name }) => name), NAMES].join('\0')}\0`, 'latin1');
  const tableStart = align(contentEnd + names.length);

  const stripped = Buffer.alloc(tableStart + (kept.length + 1) * SECTION_BYTES);
  elf.copy(stripped, 0, 0, contentEnd);
  names.copy(stripped, contentEnd);
  let nameStart = 1;
  for (const [index, { header, name }] of kept.entries()) {
    const start = tableStart + index * SECTION_BYTES;
    header.copy(stripped, start);
    if (index === 0) continue;
    stripped.writeUInt32LE(nameStart, start);
    nameStart += name.length + 1;
  }
  const last = tableStart + kept.length * SECTION_BYTES;
  stripped.writeUInt32LE(nameStart, last);
  stripped.writeUInt32LE(SHT_STRTAB, last + 4);
  stripped.writeBigUInt64LE(BigInt(contentEnd), last + 24);
  stripped.writeBigUInt64LE(BigInt(names.length), last + 32);
  stripped.writeBigUInt64LE(1n, last + 48);

  stripped.writeBigUInt64LE(BigInt(tableStart), E_SHOFF);
  stripped.writeUInt16LE(kept.length + 1, E_SHNUM);
  stripped.writeUInt16LE(kept.length, E_SHSTRNDX);
  return stripped;
}

function readSections(elf: Buffer): readonly Section[] {
  const table = offsetAt(elf, E_SHOFF);
  const count = elf.readUInt16LE(E_SHNUM);
  if (count === 0 || table + count * SECTION_BYTES > elf.length) throw refusal('has no sections');
  const headers = Array.from({ length: count }, (_, index) =>
    elf.subarray(table + index * SECTION_BYTES, table + (index + 1) * SECTION_BYTES),
  );
  const namesHeader = headers[elf.readUInt16LE(E_SHSTRNDX)];
  if (namesHeader === undefined) throw refusal('has sections without names');
  const namesStart = offsetAt(namesHeader, 24);
  return headers.map((header) => {
    const nameStart = namesStart + header.readUInt32LE(0);
    const type = header.readUInt32LE(4);
    const isLoaded = (header.readBigUInt64LE(8) & SHF_ALLOC) !== 0n;
    const start = offsetAt(header, 24);
    const end = type === SHT_NOBITS || !isLoaded ? 0 : start + offsetAt(header, 32);
    const name = elf.toString('latin1', nameStart, elf.indexOf(0, nameStart));
    return { header, name, isLoaded, end };
  });
}

function segmentEnds(elf: Buffer): number[] {
  const table = offsetAt(elf, E_PHOFF);
  return Array.from({ length: elf.readUInt16LE(E_PHNUM) }, (_, index) => {
    const start = table + index * PROGRAM_BYTES;
    const end = offsetAt(elf, start + 8) + offsetAt(elf, start + 32);
    if (end > elf.length) throw refusal('is cut short');
    return end;
  });
}

function offsetAt(bytes: Buffer, position: number): number {
  return Number(bytes.readBigUInt64LE(position));
}

function align(offset: number): number {
  return Math.ceil(offset / 8) * 8;
}

function refusal(why: string): IngotError {
  return new IngotError('BUILD_FAILED', `the program ${why}`);
}
