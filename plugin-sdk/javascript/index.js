// The SDK for policies of the Karuta tracker in JavaScript; index.d.ts documents it.

import * as request from 'karuta:policy/request@0.1.0';
import { fail } from 'karuta:policy/response@0.1.0';
import * as sets from 'karuta:policy/sets@0.1.0';

/** An error that the operator sees: the bindings turn a thrown text into an error result. */
export function configError(path, message) {
  return path ? `${path}: ${message}` : message;
}

export function reject(reason) {
  fail(reason);
  return 'reject';
}

// Values

// The host's number for what the client did not say is 2^64 - 1. QuickJS shows it as -1; an engine
// that reads it as positive rounds it to this.
const UNSAID = 2 ** 64;

export function left(outcome) {
  const number = Number(outcome ? outcome.left : request.left());
  return number < 0 || number >= UNSAID ? undefined : number;
}

// An engine may show a word as a negative number.
const hex = (word) => (word >>> 0).toString(16).padStart(8, '0');

export function infoHashText(words) {
  return hex(words[0]) + hex(words[1]) + hex(words[2]) + hex(words[3]) + hex(words[4]);
}

export function infoHashWords(text) {
  if (!/^[0-9a-f]{40}([0-9a-f]{24})?$/i.test(text)) throw 'must be 40 hexadecimal digits, or 64';
  return [0, 8, 16, 24, 32].map((at) => parseInt(text.slice(at, at + 8), 16));
}

export function addressText([a, b, c, d]) {
  if (a === 0 && b === 0 && c === 0xffff) return [d >>> 24, (d >>> 16) & 255, (d >>> 8) & 255, d & 255].join('.');
  return [a, b, c, d].flatMap((word) => [word >>> 16, word & 0xffff]).map((group) => group.toString(16)).join(':');
}

export function ipv4Words(text) {
  const parts = text.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !(Number.isInteger(part) && part >= 0 && part < 256))) {
    throw 'must be an IPv4 address';
  }
  return [0, 0, 0xffff, ((parts[0] << 24) | (parts[1] << 16) | (parts[2] << 8) | parts[3]) >>> 0];
}

export function clientText([a, b]) {
  return String.fromCharCode(...[a, b].flatMap((w) => [w >>> 24, (w >>> 16) & 255, (w >>> 8) & 255, w & 255]));
}

// Config

const typed = (type, name) => (value, path) => {
  if (typeof value !== type) throw configError(path, `expected ${name}`);
  return value;
};

export const text = typed('string', 'a text');
export const boolean = typed('boolean', 'true or false');
export const number = typed('number', 'a number');

export function integer(value, path) {
  if (!Number.isSafeInteger(value) || value < 0) throw configError(path, 'expected a whole number, 0 or more');
  return value;
}

/** A text, parsed by a function that throws a text if it is wrong. */
export const parsed = (parse) => (value, path) => {
  text(value, path);
  try {
    return parse(value);
  } catch (error) {
    if (typeof error === 'string') throw configError(path, error);
    throw error;
  }
};

/** An info-hash as 40 lower-case hexadecimal digits, as infoHashText returns it. Of the 64 of a v2 hash
 * (BEP 52) the first 40 count. */
export const infoHash = parsed((value) => infoHashText(infoHashWords(value)));

export const list = (kind) => (value, path) => {
  if (!Array.isArray(value)) throw configError(path, 'expected a list');
  return value.map((each, at) => kind(each, `${path}[${at}]`));
};

export const mapping = (kinds) => (value, path) => {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw configError(path, path ? 'expected a mapping' : 'the configuration is not a mapping');
  }
  const unknown = Object.keys(value).find((key) => !Object.hasOwn(kinds, key));
  const inside = (key) => (path ? `${path}.${key}` : key);
  if (unknown !== undefined) {
    throw configError(inside(unknown), `unknown key, expected one of ${Object.keys(kinds).join(', ')}`);
  }
  const found = {};
  for (const [key, kind] of Object.entries(kinds)) {
    if (Object.hasOwn(value, key)) found[key] = kind(value[key], inside(key));
    else if (Object.hasOwn(kind, 'otherwise')) found[key] = kind.otherwise;
    else throw configError(path, `missing key \`${key}\``);
  }
  return found;
};

export const optional = (kind, otherwise) => Object.assign((value, path) => kind(value, path), { otherwise });

export function readConfig(json, kinds) {
  return mapping(kinds)(JSON.parse(json) ?? {}, '');
}

/** The handle of a data source in a format, named by a key of the configuration. */
const source = (format) =>
  parsed((name) => {
    const found = sets.sources().find(([known]) => known === name);
    if (!found) throw `there is no data source \`${name}\`, expected one that \`data\` declares`;
    if (found[1] !== format) throw `the data source \`${name}\` has the format ${found[1]}, expected ${format}`;
    return sets.open(name);
  });

export const infoHashes = source('info-hashes');
export const strings = source('strings');
export const addresses = source('addresses');
