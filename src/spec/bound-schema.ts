/**
 * Containers and models that belong to an image, as a person writes them: `containers` and `models` of a declaration.
 * Both are named by a tag here, and by digests in the lock.
 */
import * as z from 'zod';

import { quadletProblem } from './quadlet.ts';
import { COMPONENT, HOST } from './update-schema.ts';

/** Of a unit, and of a folder. */
export const BoundName = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits, and . _ - between them');

/** What quadlet files are read line by line, and what systemd would expand. */
const oneLine = (wanted: string): z.ZodString => z.string().regex(/^[^\p{Cc}]*[^\p{Cc}\s\\]$/u, wanted);

const REFERENCE = new RegExp(
  `^${HOST}(?:/${COMPONENT})+(?::\\w[\\w.-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$`,
);

/** With its registry: what `redis` alone would mean differs from machine to machine. */
export const BoundReference = z
  .string()
  .regex(REFERENCE, 'a registry, a path, and a tag or a digest, such as registry.example.com/ai/server:1.0');

const PORTS = '\\d{1,5}(?:-\\d{1,5})?';
const ADDRESS = '(?:(?:\\d{1,3}\\.){3}\\d{1,3}|\\[[0-9a-fA-F:]+\\])';

export const ContainerInput = z
  .strictObject({
    name: BoundName.describe('Name of the service: `server` is `server.service`.'),
    image: BoundReference.optional().describe(
      'Image in a registry, with its tag. `ingot lock` finds its digest.',
    ),
    summary: oneLine('one line of text').optional().describe('What the unit says of itself.'),
    publish: z
      .array(
        z
          .string()
          .regex(
            new RegExp(`^(?:(?:${ADDRESS}:)?(?:${PORTS})?:)?${PORTS}(?:/(?:tcp|udp|sctp))?$`),
            'ports as Podman has them, such as "8080:80" or "127.0.0.1:8080:80"',
          ),
      )
      .optional()
      .describe('Ports of the node and of the container, such as "8080:80".'),
    volumes: z
      .array(
        z
          .string()
          .regex(
            /^(?:\/|[a-zA-Z0-9])[^\s:\p{Cc}]*:\/[^\s:\p{Cc}]*(?::[\w,=-]+)?$/u,
            'a path or a volume, and where it is in the container, such as /var/lib/server:/data',
          ),
      )
      .optional()
      .describe('Paths of the node, or volumes, and where the container sees them.'),
    devices: z
      .array(
        z.string().regex(/^[\w/.-]+(?:[:=][\w/.:,-]+)?$/, 'a device, such as nvidia.com/gpu=all or /dev/kfd'),
      )
      .optional()
      .describe('Devices that it gets, such as nvidia.com/gpu=all.'),
    environment: z
      .record(
        z.string().regex(/^[A-Za-z_]\w*$/, 'the name of a variable'),
        z.string().regex(/^[^\p{Cc}]*$/u, 'one line of text'),
      )
      .optional()
      .describe('Variables of its environment. Nothing in an image is secret.'),
    exec: oneLine('one line: a command with its arguments')
      .optional()
      .describe('Arguments, in the place of the image’s own.'),
    network: oneLine('a network of Podman’s, such as host').optional().describe('Default: Podman’s bridge.'),
    after: z
      .array(z.string().regex(/^[\w@:.\\-]{1,200}\.(?:service|target|mount|socket|path)$/, 'a unit name'))
      .optional()
      .describe('Units that start before it.'),
    enabled: z.boolean().optional().describe('False: nothing starts it by itself. Default: true.'),
    quadlet: z
      .string()
      .superRefine((text, context) => {
        const message = quadletProblem(text, REFERENCE);
        if (message !== undefined) context.addIssue({ code: 'custom', message });
      })
      .optional()
      .describe('In the place of all other keys: the text of a quadlet, with `Image=` and a tag.'),
  })
  .superRefine((container, context) => {
    const { name: _name, quadlet, image, ...others } = container;
    if (quadlet === undefined && image === undefined) {
      context.addIssue({ code: 'custom', message: 'must have `image`, or the text of a `quadlet`' });
    }
    if (quadlet === undefined) return;
    const [first] = Object.entries({ image, ...others }).flatMap(([key, value]) =>
      value === undefined ? [] : [key],
    );
    if (first === undefined) return;
    context.addIssue({
      code: 'custom',
      message: `has a quadlet, which says everything: \`${first}\` belongs into its text`,
    });
  });
export type ContainerInput = z.infer<typeof ContainerInput>;
