/** Where provisioning may write: what belongs to the machine, never to the image or to Ingot. */
import * as z from 'zod';

const MAX_PATH = 1024;

/** Written by what has a key of its own, or by the system itself. */
const OTHERS =
  /^\/(?:etc\/(?:passwd|group|shadow|gshadow|subuid|subgid)-?|etc\/(?:\.pwd\.lock|machine-id|hostname|fstab|resolv\.conf)|var\/lib\/(?:ingot|dpkg|rpm|private)(?:\/.*)?|var\/(?:run|lock)(?:\/.*)?)$/;

/** Absolute, normalised, under /etc or /var. Whether links are on the way is seen when it is written. */
export const MachinePath = z
  .string()
  .max(MAX_PATH)
  .regex(/^\/(?:etc|var)\/[^\p{Cc}]+$/u, 'an absolute path under /etc or /var: the rest is the image’s')
  .refine(
    (path) =>
      path
        .slice(1)
        .split('/')
        .every((part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255),
    'is not a plain path: no ".", "..", "//" or "/" at the end',
  )
  .refine(
    (path) => !OTHERS.test(path),
    'is not for provisioning: it has a key of its own, or belongs to the system',
  );
