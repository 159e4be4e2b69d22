import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { tableRows } from './sqlite-table.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ingot-sqlite-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** What SQLite itself writes. */
function databaseOf(blobs: readonly Uint8Array[]): Buffer {
  const path = join(folder, 'x.sqlite');
  rmSync(path, { force: true });
  const database = new DatabaseSync(path);
  database.exec(
    'CREATE TABLE Other(a TEXT); CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)',
  );
  database.exec('BEGIN');
  const insert = database.prepare('INSERT INTO Packages(blob) VALUES (?)');
  for (const blob of blobs) insert.run(blob);
  database.exec('COMMIT');
  database.close();
  return readFileSync(path);
}

describe('tableRows', () => {
  it('reads what SQLite wrote: short and long, few and many', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 60 }), (sizes) => {
        const blobs = sizes.map((size, index) => Buffer.alloc(size, index + 1));
        const rows = [...tableRows(databaseOf(blobs), 'Packages')];
        expect(rows.map(([, blob]) => blob)).toEqual(blobs);
      }),
      { numRuns: 20 },
    );
  });

  it('goes down more than one level', () => {
    const blobs = Array.from({ length: 3000 }, (_, index) => Buffer.from(`package ${index}`.repeat(20)));
    expect([...tableRows(databaseOf(blobs), 'Packages')].length).toBe(blobs.length);
  });

  it('ends with an error or rows, whatever the bytes are', () => {
    const database = databaseOf(Array.from({ length: 50 }, (_, index) => Buffer.alloc(index * 300, 7)));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(database.length - 1), fc.nat(255)), { minLength: 1, maxLength: 40 }),
        (changes) => {
          const spoilt = Buffer.from(database);
          for (const [at, byte] of changes) spoilt[at] = byte;
          try {
            expect([...tableRows(spoilt, 'Packages')].length).toBeLessThan(10_000);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('refuses what is none, and says which table is not there', () => {
    expect(() => [...tableRows(Buffer.from('Berkeley'), 'Packages')]).toThrow('no SQLite database');
    expect(() => [...tableRows(databaseOf([Buffer.of(1)]), 'Names')]).toThrow('no table Names');
  });
});
