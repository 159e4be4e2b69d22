/** The units with which a node updates by itself: `update.unattended` of its declaration. */
import { type UnattendedUpdates, UPDATE_SERVICE, UPDATE_TIMER } from '../spec/update-schema.ts';
import { parseUpdateWindow, windowCalendar } from '../spec/update-window.ts';
import type { PlannedUnit } from './plan.ts';

/** Between the windows: so often does a node that downloads ahead look for what is new. */
const AHEAD_CALENDAR = '*-*-* 00/4:00:00';

export function updateUnits(unattended: UnattendedUpdates): readonly PlannedUnit[] {
  const own = { masked: false, origin: 'update' };
  return [
    { name: UPDATE_SERVICE, content: renderUpdateService(), ...own },
    { name: UPDATE_TIMER, content: renderUpdateTimer(unattended), enabled: true, ...own },
  ];
}

function renderUpdateTimer({ window, randomDelaySeconds, download }: UnattendedUpdates): string {
  const windows = window.flatMap((text) => {
    const parsed = parseUpdateWindow(text);
    return parsed === undefined ? [] : [windowCalendar(parsed)];
  });
  const calendars = [...windows, ...(download === 'ahead' ? [AHEAD_CALENDAR] : [])];
  return `[Unit]
Description=Updates of this node's system

[Timer]
${calendars.map((calendar) => `OnCalendar=${calendar}`).join('\n')}
RandomizedDelaySec=${randomDelaySeconds}
AccuracySec=1min
# A window that opened while the node was off may still be open.
Persistent=true

[Install]
WantedBy=timers.target
`;
}

function renderUpdateService(): string {
  return `[Unit]
Description=Update of this node's system
Documentation=man:systemd.timer(5)
Wants=network-online.target
After=network-online.target

[Service]
# It may wait for as long as the window is open, and a start that is not over until then would never be judged.
Type=exec
ExecStart=/usr/bin/ingot node upgrade --unattended
# What came of it is in the node's journal. A registry that is away does not make the machine a degraded one, which a
# check of its health may ask for.
SuccessExitStatus=1
Nice=10
IOSchedulingClass=idle
`;
}
