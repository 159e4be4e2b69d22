/**
 * Networks as cloud-init's version 2 has them, a part of netplan's format, for systemd-networkd.
 * https://cloudinit.readthedocs.io/en/latest/reference/network-config-format-v2.html
 */
import { isIP } from 'node:net';
import * as z from 'zod';

const Address = z.string().refine((text) => isIP(text) !== 0, 'is no IP address');
const Prefix = z.string().refine(isPrefix, 'is no address with a prefix length, such as 192.0.2.7/24');
const MacAddress = z
  .string()
  .regex(/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'a MAC address, such as 52:54:00:12:34:56');
/** Patterns of systemd.network(5): no white space, which would make two of one. */
const Pattern = z.string().regex(/^[!-~]+$/, 'a name or a pattern without blanks');

function isPrefix(text: string): boolean {
  const [address = '', length = '', ...more] = text.split('/');
  const family = isIP(address);
  return (
    family !== 0 &&
    more.length === 0 &&
    /^\d{1,3}$/.test(length) &&
    Number(length) <= (family === 4 ? 32 : 128)
  );
}

export const Ethernet = z.strictObject({
  match: z
    .strictObject({
      name: Pattern.optional(),
      macaddress: MacAddress.optional(),
      driver: Pattern.optional(),
    })
    .optional(),
  dhcp4: z.boolean().optional(),
  dhcp6: z.boolean().optional(),
  'accept-ra': z.boolean().optional(),
  addresses: z.array(Prefix).optional(),
  gateway4: Address.optional(),
  gateway6: Address.optional(),
  routes: z
    .array(
      z.strictObject({
        to: z.union([z.literal('default'), Prefix]),
        via: Address.optional(),
        metric: z.int().min(0).max(4_294_967_295).optional(),
      }),
    )
    .optional(),
  nameservers: z
    .strictObject({
      addresses: z.array(Address).optional(),
      search: z.array(z.string().regex(/^[A-Za-z0-9._-]+$/, 'a domain')).optional(),
    })
    .optional(),
  mtu: z.int().min(68).max(65_535).optional(),
  optional: z.boolean().optional(),
});
export type Ethernet = z.infer<typeof Ethernet>;

export const NetworkConfig = z.strictObject({
  version: z.literal(2).optional(),
  renderer: z.literal('networkd').optional(),
  ethernets: z.record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$/, 'letters, digits, and . _ -'),
    Ethernet,
  ),
});
export type NetworkConfig = z.infer<typeof NetworkConfig>;

/** Files of /etc/systemd/network by name. They come before the image's own, which take every interface that is left. */
export function renderNetworks({ ethernets }: NetworkConfig): Record<string, string> {
  return Object.fromEntries(
    Object.entries(ethernets).map(([id, ethernet]) => [
      `10-provision-${id}.network`,
      renderEthernet(id, ethernet),
    ]),
  );
}

function renderEthernet(id: string, ethernet: Ethernet): string {
  const { match, addresses = [], routes = [], nameservers = {} } = ethernet;
  const gateways = [ethernet.gateway4, ethernet.gateway6].filter((gateway) => gateway !== undefined);
  const matches = [
    ...(match?.name === undefined ? [] : [`Name=${match.name}`]),
    ...(match?.macaddress === undefined ? [] : [`PermanentMACAddress=${match.macaddress}`]),
    ...(match?.driver === undefined ? [] : [`Driver=${match.driver}`]),
  ];
  const link = [
    ...(ethernet.mtu === undefined ? [] : [`MTUBytes=${ethernet.mtu}`]),
    ...(ethernet.optional === true ? ['RequiredForOnline=no'] : []),
  ];
  const { dhcp4 = false, dhcp6 = false, 'accept-ra': acceptRa } = ethernet;
  return [
    ['[Match]', ...(matches.length === 0 ? [`Name=${id}`] : matches)],
    ...(link.length === 0 ? [] : [['[Link]', ...link]]),
    [
      '[Network]',
      `DHCP=${dhcp4 && dhcp6 ? 'yes' : dhcp4 ? 'ipv4' : dhcp6 ? 'ipv6' : 'no'}`,
      ...(acceptRa === undefined ? [] : [`IPv6AcceptRA=${acceptRa ? 'yes' : 'no'}`]),
      ...addresses.map((address) => `Address=${address}`),
      ...gateways.map((gateway) => `Gateway=${gateway}`),
      ...(nameservers.addresses ?? []).map((server) => `DNS=${server}`),
      ...(nameservers.search === undefined ? [] : [`Domains=${nameservers.search.join(' ')}`]),
    ],
    ...routes.map(({ to, via, metric }) => [
      '[Route]',
      ...(to === 'default' ? [] : [`Destination=${to}`]),
      ...(via === undefined ? [] : [`Gateway=${via}`]),
      ...(metric === undefined ? [] : [`Metric=${metric}`]),
      // Without either, networkd has nothing to go by.
      ...(to === 'default' && via === undefined ? ['Scope=link', 'Destination=0.0.0.0/0'] : []),
    ]),
  ]
    .map((section) => `${section.join('\n')}\n`)
    .join('\n');
}
