/**
 * Signed kernel modules: a signature at the end of the file, as the kernel's own scripts/sign-file writes it
 * (Documentation/admin-guide/module-signing.rst). CMS of RFC 5652, section 5, detached and without attributes, so that
 * the same key, module and certificate give the same bits.
 */
import { sign, type KeyObject, type X509Certificate } from 'node:crypto';

import { digestOf, type Digest } from '../../digest.ts';

/** RSA PKCS#1 v1.5 with SHA-256, which has no random part. */
export type SignSha256 = (content: Uint8Array, signal?: AbortSignal) => Promise<Buffer>;

export interface ModuleSigner {
  /** Digest over the certificate. */
  readonly fingerprint: Digest;
  /** DER, as mokutil(1) takes it. */
  readonly certificate: Uint8Array;
  /** The module with its signature. */
  sign(module: Uint8Array, signal?: AbortSignal): Promise<Buffer>;
}

/** @param signRsa with the key of `certificate` */
export function moduleSigner(signRsa: SignSha256, certificate: X509Certificate): ModuleSigner {
  const der = certificate.raw;
  const signer = issuerAndSerial(der);
  return {
    fingerprint: digestOf(der),
    certificate: der,
    sign: async (module, signal) =>
      appendSignature(module, signedData(signer, await signRsa(module, signal))),
  };
}

/** Signs with a key in memory. @param key RSA */
export function signWith(key: KeyObject): SignSha256 {
  return (content) => Promise.resolve(sign('sha256', content, key));
}

const MAGIC = Buffer.from('~Module signature appended~\n');
const PKEY_ID_PKCS7 = 2;

/** `struct module_signature` of include/linux/module_signature.h: eight bytes, then the length, big-endian. */
function appendSignature(module: Uint8Array, signature: Buffer): Buffer {
  const trailer = Buffer.alloc(12);
  trailer.writeUInt8(PKEY_ID_PKCS7, 2);
  trailer.writeUInt32BE(signature.length, 8);
  return Buffer.concat([module, signature, trailer, MAGIC]);
}

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const OCTETS = 0x04;
const CONTEXT_0 = 0xa0;
const VERSION_1 = der(INTEGER, Buffer.from([1]));
// Object identifiers: 2.16.840.1.101.3.4.2.1, 1.2.840.113549.1.1.1, 1.2.840.113549.1.7.1 and .2.
const SHA256 = der(SEQUENCE, Buffer.from('0609608648016503040201', 'hex'));
const RSA = der(SEQUENCE, Buffer.from('06092a864886f70d0101010500', 'hex'));
const DATA = der(SEQUENCE, Buffer.from('06092a864886f70d010701', 'hex'));
const SIGNED_DATA = Buffer.from('06092a864886f70d010702', 'hex');

function signedData(signer: Buffer, signature: Buffer): Buffer {
  const info = der(SEQUENCE, VERSION_1, signer, SHA256, RSA, der(OCTETS, signature));
  const data = der(SEQUENCE, VERSION_1, der(SET, SHA256), DATA, der(SET, info));
  return der(SEQUENCE, SIGNED_DATA, der(CONTEXT_0, data));
}

function der(tag: number, ...content: readonly Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), lengthOf(body.length), body]);
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const digits = length.toString(16);
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
}

/** Issuer and serial number of a certificate (RFC 5280, section 4.1), byte for byte as they stand in it. */
function issuerAndSerial(certificate: Buffer): Buffer {
  const [body] = elementsOf(contentOf(certificate));
  if (body === undefined) throw new TypeError('a certificate without a body');
  const [first, ...rest] = elementsOf(contentOf(body));
  const fields = first?.[0] === CONTEXT_0 ? rest : [first, ...rest];
  const [serial, , issuer] = fields;
  if (serial === undefined || issuer === undefined) throw new TypeError('a certificate without issuer or serial');
  return der(SEQUENCE, issuer, serial);
}

function contentOf(element: Buffer): Buffer {
  return element.subarray(headerOf(element).header);
}

function elementsOf(content: Buffer): Buffer[] {
  const elements: Buffer[] = [];
  for (let rest = content; rest.length > 0; ) {
    const { header, length } = headerOf(rest);
    elements.push(rest.subarray(0, header + length));
    rest = rest.subarray(header + length);
  }
  return elements;
}

/** Of a certificate that OpenSSL has parsed: its lengths are sound. */
function headerOf(element: Buffer): { readonly header: number; readonly length: number } {
  const short = element.readUInt8(1);
  if (short < 0x80) return { header: 2, length: short };
  const count = short & 0x7f;
  return { header: 2 + count, length: element.readUIntBE(2, count) };
}
