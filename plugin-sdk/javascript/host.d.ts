// The host's functions: wit/policy.wit says what they do. What the WIT calls an error is thrown.

declare module 'karuta:policy/types@0.1.0' {
  /** The 20 bytes of an info-hash as five big-endian words. */
  export type InfoHash = [number, number, number, number, number];
  /** An IP address as four big-endian words; IPv4 is mapped. */
  export type Address = [number, number, number, number];
}

declare module 'karuta:policy/request@0.1.0' {
  import type { Address } from 'karuta:policy/types@0.1.0';
  export function peerId(): Uint8Array;
  /** Not a number of bytes if the client did not say: use `left` of the SDK. */
  export function left(): number;
  export function uploaded(): number;
  export function downloaded(): number;
  export function queryParam(name: string): string | undefined;
  export function pathParam(name: string): string | undefined;
  export function header(name: string): string | undefined;
  export function credential(): string | undefined;
  export function clientAddress(): Address;
  export function socketAddress(): [Address, number];
  export function attribute(name: string): string | undefined;
}

declare module 'karuta:policy/response@0.1.0' {
  import type { Address } from 'karuta:policy/types@0.1.0';
  export interface Scope {
    infoHash?: boolean;
    address?: boolean;
    client?: boolean;
    credential?: boolean;
    event?: boolean;
    transport?: boolean;
    peerId?: boolean;
    port?: boolean;
    role?: boolean;
  }
  export function fail(reason: string): void;
  export function retryIn(minutes: number | undefined): void;
  export function warn(message: string): void;
  export function interval(): number;
  export function minInterval(): number;
  export function setInterval(seconds: number): void;
  export function setMinInterval(seconds: number): void;
  export function setNumWant(count: number): void;
  export function addPeer(address: Address, port: number, place: 'first' | 'mixed'): void;
  export function setAttribute(name: string, value: string): void;
  export function hide(): void;
  export function remember(scope: Scope, seconds: number): void;
}

declare module 'karuta:policy/swarm@0.1.0' {
  import type { InfoHash } from 'karuta:policy/types@0.1.0';
  export interface Stats {
    seeders: number;
    leechers: number;
    completed: number;
  }
  export function current(): Stats;
  export function lookup(infoHash: InfoHash): Stats | undefined;
}

declare module 'karuta:policy/account@0.1.0' {
  export interface Rights {
    enabled?: boolean;
    leech?: boolean;
    visible?: boolean;
    immune?: boolean;
    freeleech?: boolean;
    doubleUpload?: boolean;
  }
  export interface MemberRecord {
    id: number;
    rights: Rights;
    group: number;
    slots?: number;
    seeding: number;
    leeching: number;
    here: number;
  }
  export interface Marks {
    approved?: boolean;
    deleted?: boolean;
    free?: boolean;
    neutral?: boolean;
    featured?: boolean;
    token?: boolean;
  }
  export interface TorrentRecord {
    id: number;
    marks: Marks;
    status: number;
    reason: number;
    uploadPercent: number;
    downloadPercent: number;
  }
  export function member(): MemberRecord | undefined;
  export function torrent(): TorrentRecord | undefined;
  export function credit(upload: number, download: number): void;
  export function hidePeer(): void;
}

declare module 'karuta:policy/locality@0.1.0' {
  export interface Plan {
    prefixes: Uint8Array;
    order: 'near-first' | 'role-first';
    farPercent: number;
  }
  export function define(plan: Plan): number;
  export function defineWithGateways(plan: Plan, gateways: number): number;
  export function assign(label: number, plan: number): void;
}

declare module 'karuta:policy/sets@0.1.0' {
  import type { Address, InfoHash } from 'karuta:policy/types@0.1.0';
  export function open(name: string): number;
  export function hasInfoHash(set: number, infoHash: InfoHash): boolean;
  export function hasString(set: number, value: string): boolean;
  export function matchAddress(set: number, address: Address): number | undefined;
  export function size(set: number): number;
  export function sources(): [string, string][];
  export function refresh(name: string): void;
}

declare module 'karuta:policy/signatures@0.1.0' {
  export function loadKey(jwk: string): number;
  export function forgetKey(key: number): void;
  export function verify(key: number, algorithm: string, message: Uint8Array, signature: Uint8Array): boolean;
}

declare module 'karuta:policy/keyvalue@0.1.0' {
  export function get(key: Uint8Array): Uint8Array | undefined;
  export function put(key: Uint8Array, value: Uint8Array, ttlSeconds: number | undefined): void;
  function remove(key: Uint8Array): void;
  export { remove as delete };
  export function increment(key: Uint8Array, delta: number, ttlSeconds: number | undefined): number;
}

declare module 'karuta:policy/log@0.1.0' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
  export function enabled(level: Level): boolean;
  export function write(level: Level, message: string): void;
}

declare module 'karuta:policy/metrics@0.1.0' {
  export function counter(name: string, help: string): number;
  export function gauge(name: string, help: string): number;
  export function add(id: number, delta: number): void;
  export function set(id: number, value: number): void;
}

declare module 'karuta:policy/http@0.1.0' {
  export interface Response {
    status: number;
    headers: [string, string][];
    body: Uint8Array;
  }
  export function fetch(method: string, url: string, headers: [string, string][], body: Uint8Array, timeoutMs: number): Response;
}

declare module 'karuta:policy/publisher@0.1.0' {
  export function publish(name: string, data: Uint8Array): void;
}
