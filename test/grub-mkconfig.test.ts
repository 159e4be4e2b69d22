/** The menu generator of the base layer, run by a real shell on real entries. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { run } from '../src/proc/run.ts';

const SCRIPT = join(import.meta.dirname, '../layers/base/debian/grub-mkconfig');

let loader = '';

beforeEach(async () => {
  loader = join(await mkdtemp(join(tmpdir(), 'ingot grub ')), 'loader.1');
  await mkdir(join(loader, 'entries'), { recursive: true });
});

afterEach(async () => {
  await rm(join(loader, '..'), { recursive: true, force: true });
});

async function entry(name: string, lines: readonly string[]): Promise<void> {
  await writeFile(join(loader, 'entries', name), `${lines.join('\n')}\n`);
}

async function deployment(version: number, title = `Debian (ostree:${version})`): Promise<void> {
  await entry(`ostree-${version}.conf`, [
    `title ${title}`,
    `version ${version}`,
    `options root=UUID=1-2 rw ostree=/ostree/boot.1/debian/abc/${version} console=ttyS0,115200`,
    `linux /ostree/debian-abc/vmlinuz-${version}`,
    `initrd /ostree/debian-abc/initramfs-${version}.img`,
  ]);
}

async function menu(): Promise<string> {
  const output = join(loader, 'grub.cfg');
  await run(['sh', SCRIPT, '-o', output]);
  return readFile(output, 'utf8');
}

function titles(text: string): string[] {
  return [...text.matchAll(/^menuentry '(.*)' \{$/gm)].map(([, title = '']) => title);
}

describe('grub-mkconfig', () => {
  it('writes one entry, and a restart behind it', async () => {
    await deployment(1);
    expect(await menu())
      .toBe(`# Written by grub-mkconfig from the entries beside this file. Changes here are lost.
set default=0
set timeout=1
if serial --unit=0 --speed=115200; then
	terminal_input console serial
	terminal_output console serial
fi
set fallback="1"
menuentry 'Debian (ostree:1)' {
	linux '/ostree/debian-abc/vmlinuz-1' 'root=UUID=1-2' 'rw' 'ostree=/ostree/boot.1/debian/abc/1' 'console=ttyS0,115200'
	initrd '/ostree/debian-abc/initramfs-1.img'
}
menuentry 'Nothing could be started: restart' {
	sleep 30
	reboot
}
`);
    expect((await stat(join(loader, 'grub.cfg'))).mode & 0o777).toBe(0o644);
    expect(await readdir(loader)).toEqual(['entries', 'grub.cfg']);
  });

  it('puts the newest first, by number and not by name, and falls back to the others in order', async () => {
    for (const version of [9, 10, 2]) await deployment(version);
    const text = await menu();
    expect(titles(text)).toEqual([
      'Debian (ostree:10)',
      'Debian (ostree:9)',
      'Debian (ostree:2)',
      'Nothing could be started: restart',
    ]);
    expect(text).toContain('set fallback="1 2 3"\n');
  });

  it('writes what is known to be good into the menu, for when the environment is damaged', async () => {
    for (const version of [1, 2]) {
      await entry(`ostree-${version}.conf`, [
        `version ${version}`,
        'linux /vmlinuz',
        `options ingot.id=abc-${version}`,
      ]);
    }
    const known = async (): Promise<string | undefined> => /^set good_id='(.*)'$/m.exec(await menu())?.[1];
    expect(await known()).toBe('');
    const grub = join(loader, '../grub');
    await mkdir(grub);
    await writeFile(join(grub, 'grubenv'), '# GRUB Environment Block\ntries=1\ngood_id=abc-1\n####');
    expect(await known()).toBe('abc-1');
    // What the menu before said stands when the environment says nothing.
    await mkdir(join(loader, '../loader'));
    await writeFile(join(loader, '../loader/grub.cfg'), await readFile(join(loader, 'grub.cfg')));
    await writeFile(join(grub, 'grubenv'), '\0'.repeat(1024));
    expect(await known()).toBe('abc-1');
    // Nothing that would end its quotes.
    await writeFile(join(grub, 'grubenv'), "# GRUB Environment Block\ngood_id=a'; reboot; '\n");
    expect(await known()).toBe('abc-1');
  });

  it('lets no title and no option out of its quotes', async () => {
    await deployment(1, `it's "$x" } \\ \`reboot\`; menuentry 'evil' {`);
    await entry('odd.conf', [
      '# a comment',
      '',
      '  title   Odd  ',
      'version 0',
      'linux /vmlinuz',
      'options a=$b;reboot {c} d=\'e\' f="g  h" | &',
      'options more\tx',
      'initrd /one.img',
      'initrd /two.img',
    ]);
    const text = await menu();
    expect(text).toContain(`menuentry 'it'\\''s "$x" } \\ \`reboot\`; menuentry '\\''evil'\\'' {' {\n`);
    expect(text).toContain(
      `menuentry 'Odd' {\n\tlinux '/vmlinuz' 'a=$b;reboot' '{c}' 'd='\\''e'\\''' 'f=g  h' '|' '&' 'more' 'x'\n\tinitrd '/one.img' '/two.img'\n}\n`,
    );
    // A shell reads this part of the language as GRUB does.
    const lines = text.split('\n').filter((line) => line.startsWith('\tlinux'));
    const { stdout } = await run(['sh', '-c', `linux() { printf '<%s>' "$@"; }\n${lines.join('\n')}`]);
    expect(stdout).toContain("<a=$b;reboot><{c}><d='e'><f=g  h><|><&><more><x>");
  });

  it('takes entries without a title or an initramfs, and leaves out those without a kernel', async () => {
    await deployment(1);
    await entry('bare.conf', ['version 3', 'linux /bare']);
    await entry('broken.conf', ['title broken', 'version 4']);
    await writeFile(join(loader, 'entries/empty.conf'), '');
    await writeFile(join(loader, 'entries/notes.txt'), 'linux /not-an-entry\n');
    const { stderr } = await run(['sh', SCRIPT, '--output', join(loader, 'grub.cfg')]);
    expect(stderr).toContain('broken.conf names no kernel, left out');
    const text = await readFile(join(loader, 'grub.cfg'), 'utf8');
    expect(titles(text)).toEqual(['/bare', 'Debian (ostree:1)', 'Nothing could be started: restart']);
    expect(text).toContain("menuentry '/bare' {\n\tlinux '/bare'\n}\n");
  });

  it('leaves the old menu alone when there is nothing to boot', async () => {
    await writeFile(join(loader, 'grub.cfg'), 'old');
    const failure = { code: 'TOOL_FAILED' };
    await expect(run(['sh', SCRIPT, '-o', join(loader, 'grub.cfg')])).rejects.toMatchObject(failure);
    await entry('broken.conf', ['title broken']);
    await expect(run(['sh', SCRIPT, '-o', join(loader, 'grub.cfg')])).rejects.toMatchObject(failure);
    expect(await readFile(join(loader, 'grub.cfg'), 'utf8')).toBe('old');
    expect(await readdir(loader)).toEqual(['entries', 'grub.cfg']);
  });

  it.each([[['-o']], [[]], [['--bogus']]])('refuses the arguments %j', async (args) => {
    await expect(run(['sh', SCRIPT, ...args])).rejects.toMatchObject({ code: 'TOOL_FAILED' });
  });

  it('takes a relative path, and replaces a menu that is there', async () => {
    await deployment(1);
    await writeFile(join(loader, 'grub.cfg'), 'old');
    await run(['sh', SCRIPT, '-o', 'grub.cfg'], { cwd: loader });
    expect(titles(await readFile(join(loader, 'grub.cfg'), 'utf8'))).toHaveLength(2);
  });
});
