// The SDK for policies of the Karuta tracker in JavaScript or TypeScript. The host's functions are the
// modules `karuta:policy/NAME@0.1.0` of host.d.ts; wit/policy.wit says what they do.
//
// Times are numbers, and their names say the unit: `setInterval(seconds)`, `retryIn(minutes)`,
// `ageSeconds`, `unixMs`. What a client did not say is undefined; for `left`, ask {@link left}.
//
// 64-bit numbers are JavaScript's own, exact up to 2^53. Words of info-hashes and addresses may come as
// negative numbers: `word >>> 0` is the same word without a sign.

/// <reference path="./host.d.ts" />

import type { Address, InfoHash } from 'karuta:policy/types@0.1.0';
export type { Address, InfoHash };

/** The first eight bytes of the peer id as two big-endian words. */
export type Client = [number, number];
export type Event = 'none' | 'started' | 'stopped' | 'completed' | 'paused';
export type Transport = 'udp' | 'http' | 'https' | 'websocket';
export type Verdict = 'next' | 'accept' | 'reject' | 'drop';

export interface Traits {
  /** Nothing is left to download. Partial seeds (BEP 21) are not seeders. */
  seeder: boolean;
  ipv6: boolean;
  /** The client's address was taken from a trusted proxy's header. */
  proxied: boolean;
  /** The announced address is the request's own `ip` parameter. */
  overridden: boolean;
  /** The request carries a credential. */
  credential: boolean;
}

export interface Announce {
  infoHash: InfoHash;
  /** The announced address. */
  address: Address;
  client: Client;
  port: number;
  event: Event;
  transport: Transport;
  /** After the configuration's default and limit. */
  numWant: number;
  traits: Traits;
}

export interface Scrape {
  infoHash: InfoHash;
  address: Address;
  transport: Transport;
  traits: Traits;
}

export interface Context {
  /** The policy's name in the configuration. */
  name: string;
  /** The policy's `config`, as JSON: for {@link readConfig}. */
  config: string;
  role: 'worker' | 'control' | 'trial';
  /** The number of the worker, from zero. */
  worker: number;
  workers: number;
}

export interface Candidate {
  address: Address;
  port: number;
  seeder: boolean;
  label: number;
  ageSeconds: number;
}

export interface Outcome {
  /** Grows while the daemon runs; a batch that is offered again has the same ids. */
  id: number;
  announce: Announce;
  peerId: Uint8Array;
  credential?: string;
  attributes: [string, string][];
  verdict: Verdict;
  /** The policy that decided, if one did. */
  decidedBy?: string;
  /** Not a number of bytes if the client did not say: use {@link left}. */
  left: number;
  uploaded: number;
  downloaded: number;
  uploadedDelta: number;
  downloadedDelta: number;
  secondsSincePrevious?: number;
  unixMs: number;
}

// The interfaces that a policy can export; its world says which. A text that `init`, `onData`,
// `observe` or `tick` throws is an error for the operator; an Error is a crash.

export interface Lifecycle {
  init(context: Context): void;
}
export interface AnnounceFilter {
  onAnnounce(announce: Announce): Verdict;
}
export interface ScrapeFilter {
  onScrape(scrape: Scrape): Verdict;
}
export interface DataSink {
  onData(name: string, version: number, data: Uint8Array): void;
}
export interface PeerRanker {
  rank(announce: Announce, candidates: Candidate[]): Uint32Array;
}
export interface Observer {
  observe(batch: Outcome[]): void;
}
export interface Ticker {
  tick(unixMs: number): void;
}

/** Rejects the request with a `failure reason`: `return reject('unknown passkey')`. */
export function reject(reason: string): 'reject';

/** Returns how many bytes are left to download, in the current request or in an outcome; undefined
 * if the client did not say. */
export function left(outcome?: Outcome): number | undefined;

/** Returns 40 lower-case hexadecimal digits. */
export function infoHashText(words: InfoHash): string;
/** Parses 40 hexadecimal digits of either case, or the 64 of a v2 hash; throws a text if it is neither. */
export function infoHashWords(text: string): InfoHash;
/** Returns `192.0.2.1`, or the eight groups of an IPv6 address. */
export function addressText(words: Address): string;
/** Parses an IPv4 address; throws a text if it is not one. */
export function ipv4Words(text: string): Address;
/** Returns the first bytes of the peer id, such as `-TR4050-`. */
export function clientText(words: Client): string;

/** Reads a value of the configuration, or throws its path and what is wrong with it. */
export type Kind<T> = (value: unknown, path: string) => T;

/** Returns the text to throw about the key at a path, such as `allow[2]`. */
export function configError(path: string, message: string): string;
/** Reads a policy's `config`: a mapping of these keys, and no other. */
export function readConfig<T extends Record<string, Kind<any>>>(json: string, kinds: T): { [K in keyof T]: ReturnType<T[K]> };
export const text: Kind<string>;
export const boolean: Kind<boolean>;
export const number: Kind<number>;
/** A whole number, 0 or more. */
export const integer: Kind<number>;
/** A text, parsed by a function that throws a text if it is wrong. */
export function parsed<T>(parse: (text: string) => T): Kind<T>;
/** An info-hash, as {@link infoHashText} writes it. */
export const infoHash: Kind<string>;
export function list<T>(kind: Kind<T>): Kind<T[]>;
export function mapping<T extends Record<string, Kind<any>>>(kinds: T): Kind<{ [K in keyof T]: ReturnType<T[K]> }>;
/** A key that may be missing. */
export function optional<T>(kind: Kind<T>): Kind<T | undefined>;
export function optional<T>(kind: Kind<T>, otherwise: T): Kind<T>;
/** The name of a data source in the format `info-hashes`, as a handle for `sets`; likewise the others. */
export const infoHashes: Kind<number>;
export const strings: Kind<number>;
export const addresses: Kind<number>;
