import { expect, test } from 'vitest';

import { updateUnits } from './update-units.ts';

const [service, timer] = updateUnits({
  window: ['Sat,Sun 02:00-04:00', '12:00-12:30'],
  randomDelaySeconds: 1200,
  download: 'ahead',
  apply: 'restart',
});

test('the timer comes when a window opens, and between them to look ahead', () => {
  expect(timer).toMatchObject({ name: 'ingot-update.timer', enabled: true });
  expect(timer?.content?.split('\n').filter((line) => /^(?:On|Randomized|Persistent)/.test(line))).toEqual([
    'OnCalendar=Sat,Sun *-*-* 02:00:00',
    'OnCalendar=*-*-* 12:00:00',
    'OnCalendar=*-*-* 00/4:00:00',
    'RandomizedDelaySec=1200',
    'Persistent=true',
  ]);
});

test('one that downloads in its window comes then alone', () => {
  const [, alone] = updateUnits({
    window: ['02:00-04:00'],
    randomDelaySeconds: 0,
    download: 'window',
    apply: 'stage',
  });
  expect(alone?.content?.match(/^OnCalendar=.*$/gm)).toEqual(['OnCalendar=*-*-* 02:00:00']);
});

test('the service runs as long as it must, and a failure is told elsewhere', () => {
  expect(service?.content).toMatch(/^ExecStart=\/usr\/bin\/ingot node upgrade --unattended$/m);
  expect(service?.content).toMatch(/^Type=exec$/m);
  expect(service?.content).toMatch(/^SuccessExitStatus=1$/m);
});
