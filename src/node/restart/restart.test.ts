import { describe, expect, test } from 'vitest';

import type { JournalEntry } from '../journal.ts';
import { chooseRestart, lastRestart, restartFor } from './restart.ts';

describe('how a node restarts', () => {
  test('softly, where both the images and the machine allow it', () => {
    expect(restartFor({ kind: 'soft', reasons: [] }, [])).toEqual({ kind: 'soft', reasons: [] });
  });

  test.each([
    ['full' as const, ['the initramfs changes'], [], ['the initramfs changes']],
    ['soft' as const, [], ['bootc makes no soft reboot here'], ['bootc makes no soft reboot here']],
    [
      'unknown' as const,
      ['whether the initramfs stays the same'],
      [],
      ['nothing tells whether the initramfs stays the same'],
    ],
    ['full' as const, ['kernel a → b'], ['systemd 252 has no soft reboot'], undefined],
  ])('in full for %s %j %j', (kind, reasons, obstacles, said) => {
    const restart = restartFor({ kind, reasons }, obstacles);
    expect(restart.kind).toBe('full');
    expect(restart.reasons).toEqual(said ?? [...reasons, ...obstacles]);
  });

  test('not at all, when nothing changes', () => {
    expect(restartFor({ kind: 'none', reasons: [] }, ['bootc makes no soft reboot here']).kind).toBe('none');
  });

  test('as it was asked to', () => {
    const full = { kind: 'full' as const, reasons: ['the initramfs changes'] };
    const soft = { kind: 'soft' as const, reasons: [] };
    expect(chooseRestart(full, 'auto')).toEqual(full);
    expect(chooseRestart(soft, 'auto')).toEqual(soft);
    expect(chooseRestart(soft, 'required')).toEqual(soft);
    expect(chooseRestart(soft, 'never').kind).toBe('full');
    expect(() => chooseRestart(full, 'required')).toThrow(
      expect.objectContaining({
        code: 'RESTART_NEEDED',
        message: 'only a full restart does: the initramfs changes',
      }),
    );
  });
});

describe('the last restart', () => {
  const at = '2026-11-29T10:00:00.000Z';
  const seconds = Date.parse(at) / 1000;
  const entry = (event: JournalEntry['event'], more: Partial<JournalEntry> = {}): JournalEntry => ({
    at,
    update: 'u',
    event,
    bootId: 'abc-1',
    ...more,
  });

  test('took from when it was asked for until everything was started', () => {
    const entries = [entry('staged'), entry('restarting', { restart: 'soft' }), entry('good')];
    expect(lastRestart(entries, 'abc-1', seconds + 12)).toEqual({ kind: 'soft', at, seconds: 12 });
    expect(lastRestart(entries, 'abc-1', undefined)).toEqual({ kind: 'soft', at });
    // The clock went back meanwhile.
    expect(lastRestart(entries, 'abc-1', seconds - 5)).toEqual({ kind: 'soft', at });
  });

  test('is of what runs, and of a restart that came about', () => {
    const asked = entry('restarting', { restart: 'full' });
    expect(lastRestart([asked], 'def-2', seconds + 1)).toBeUndefined();
    expect(lastRestart([asked], undefined, seconds + 1)).toBeUndefined();
    expect(lastRestart([asked, entry('staged')], 'abc-1', seconds + 1)).toBeUndefined();
    expect(lastRestart([], 'abc-1', seconds + 1)).toBeUndefined();
  });
});
