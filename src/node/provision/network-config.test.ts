import { expect, test } from 'vitest';

import { NetworkConfig, renderNetworks } from './network-config.ts';

function rendered(ethernets: unknown): string {
  return Object.values(renderNetworks(NetworkConfig.parse({ ethernets }))).join('---\n');
}

test('an interface without more is matched by its name', () => {
  expect(renderNetworks(NetworkConfig.parse({ version: 2, ethernets: { enp1s0: {} } }))).toEqual({
    '10-provision-enp1s0.network': '[Match]\nName=enp1s0\n\n[Network]\nDHCP=no\n',
  });
});

test('everything that is given is written', () => {
  expect(
    rendered({
      lan: {
        match: { macaddress: '52:54:00:12:34:56', name: 'en*' },
        dhcp4: true,
        dhcp6: true,
        'accept-ra': false,
        addresses: ['192.0.2.7/24', '2001:db8::7/64'],
        gateway4: '192.0.2.1',
        routes: [
          { to: 'default', via: '192.0.2.2', metric: 100 },
          { to: '198.51.100.0/24', via: '192.0.2.3' },
        ],
        nameservers: { addresses: ['192.0.2.53'], search: ['example.org', 'example.net'] },
        mtu: 9000,
        optional: true,
      },
    }),
  ).toBe(`[Match]
Name=en*
PermanentMACAddress=52:54:00:12:34:56

[Link]
MTUBytes=9000
RequiredForOnline=no

[Network]
DHCP=yes
IPv6AcceptRA=no
Address=192.0.2.7/24
Address=2001:db8::7/64
Gateway=192.0.2.1
DNS=192.0.2.53
Domains=example.org example.net

[Route]
Gateway=192.0.2.2
Metric=100

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.3
`);
});

test.each([
  { match: { name: 'a\nb' } },
  { match: { name: 'a b' } },
  { addresses: ['192.0.2.7/33'] },
  { addresses: ['2001:db8::7/129'] },
  { gateway4: 'x' },
  { nameservers: { search: ['a\nDNS=1.1.1.1'] } },
])('%j is refused: nothing gets into a file but what it says', (ethernet) => {
  expect(NetworkConfig.safeParse({ ethernets: { lan: ethernet } }).success).toBe(false);
});
