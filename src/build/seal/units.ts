/** Enabling, disabling and masking units, and what a first boot may change about that: nothing. */
import { FindingsError, type Finding, type Location } from '../../errors.ts';
import type { PlannedUnit } from '../../plan/plan.ts';
import type { Argv } from '../../proc/run.ts';
import type { RootFs } from '../root-fs.ts';

const UNIT_FOLDERS = ['/etc/systemd/system', '/usr/lib/systemd/system'];

/** The file that defines a unit: `x@y.service` is an instance of `x@.service`. */
export function templateOf(unit: string): string {
  return unit.replace(/@[^.]+(\.[a-z]+)$/, '@$1');
}

/** Names of all unit files in the image. */
export async function listUnits(fs: RootFs): Promise<Set<string>> {
  const names = new Set<string>();
  for (const folder of UNIT_FOLDERS) for (const name of await fs.list(folder)) names.add(name);
  return names;
}

/**
 * Units that nothing in the image defines, as findings. `locate` gives the place of `units[index].name` in the
 * declaration.
 */
export function missingUnits(
  units: readonly PlannedUnit[],
  available: ReadonlySet<string>,
  nearest: (name: string, candidates: readonly string[]) => string[],
  locate?: (index: number) => Location,
): Finding[] {
  return units
    .filter((unit) => unit.content === undefined && !available.has(templateOf(unit.name)))
    .map((unit) => ({
      code: 'UNIT_UNKNOWN' as const,
      severity: 'error' as const,
      message:
        unit.declared === undefined
          ? `${unit.origin} asks for the unit ${unit.name}, which no package of the image brings`
          : `no package of this image brings the unit ${unit.name}`,
      suggestions: nearest(unit.name, [...available]),
      ...(unit.declared !== undefined && locate !== undefined && { location: locate(unit.declared) }),
    }));
}

/** Units that are to be enabled, in order. */
export function enabledUnits(units: readonly PlannedUnit[]): PlannedUnit[] {
  return units.filter((unit) => unit.enabled === true && !unit.masked);
}

/**
 * Units that were enabled to no effect, as findings. `states` are those of `enabledUnits` in the same order, as
 * `systemctl is-enabled` prints them. systemctl(1) enables what has no [Install] section with a remark
 * and exit code 0, and calls it `static` afterwards: whether it ever starts is up to other units.
 */
export function staticUnits(
  units: readonly PlannedUnit[],
  states: readonly string[],
  locate?: (index: number) => Location,
): Finding[] {
  return enabledUnits(units).flatMap((unit, position): Finding[] => {
    if (states[position] !== 'static') return [];
    const what = `${unit.name} cannot be enabled: it has no [Install] section that says for what`;
    const byLayer = unit.declared === undefined;
    return [
      {
        code: byLayer ? 'CATALOG_INVALID' : 'SPEC_INVALID',
        severity: 'error',
        message: byLayer ? `${unit.origin}: ${what}` : what,
        ...(!byLayer && locate !== undefined && { location: locate(unit.declared) }),
      },
    ];
  });
}

/** systemctl(1) calls that bring the units into the wanted state, in order. */
export function unitArgvs(units: readonly PlannedUnit[]): Argv[] {
  const named = (filter: (unit: PlannedUnit) => boolean): string[] => units.filter(filter).map(({ name }) => name);
  const masked = named((unit) => unit.masked);
  const enabled = enabledUnits(units).map(({ name }) => name);
  const disabled = named((unit) => unit.enabled === false);
  const argvs: Argv[] = [];
  if (disabled.length > 0) argvs.push(['systemctl', '--root=/', 'disable', ...disabled]);
  if (enabled.length > 0) argvs.push(['systemctl', '--root=/', 'enable', ...enabled]);
  if (masked.length > 0) argvs.push(['systemctl', '--root=/', 'mask', ...masked]);
  return argvs;
}

/** systemd.preset(5): states the same, for whoever presets units on the node. */
export function unitPresets(units: readonly PlannedUnit[]): string {
  return units
    .filter((unit) => unit.enabled !== undefined)
    .map((unit) => `${unit.enabled === true ? 'enable' : 'disable'} ${unit.name}\n`)
    .join('');
}

/** @throws FindingsError when there are findings. */
export function refuse(findings: readonly Finding[]): void {
  if (findings.length > 0) throw new FindingsError(findings);
}
