// A host for tests: outside of a component it provides the modules `karuta:policy/NAME@0.1.0`. A test
// imports this first, and its policy after it:
//
//     import test from 'node:test';
//     import assert from 'node:assert/strict';
//     import { announce, host, reset } from './karuta/testing.js';
//     const { announceFilter, lifecycle } = await import('./policy.js');
//
//     test('low ports', () => {
//       reset();
//       lifecycle.init({ config: '{"lowest_port": 1024}' });
//       assert.equal(announceFilter.onAnnounce(announce({ port: 80 })), 'reject');
//       assert.deepEqual(host.changes.fail, ['port not allowed']);
//     });
//
// `node --test` runs it. The clock is JavaScript's own, which `t.mock.timers` of node:test sets.
//
// It makes none of the host's checks: texts are not cut, intervals, key-values and published data are not
// bounded, nothing expires, no address is in a set, no key can be loaded, and no URL is checked.
// `karuta plugin test` runs a component on the real host.

import type { Address, Announce } from './index.js';
import type { Response } from 'karuta:policy/http@0.1.0';
import type { MemberRecord, TorrentRecord } from 'karuta:policy/account@0.1.0';
import type { Stats } from 'karuta:policy/swarm@0.1.0';

/** What the policy asks for, and what it did. */
export interface Host {
  query: Record<string, string>;
  path: Record<string, string>;
  headers: Record<string, string>;
  attributes: Record<string, string>;
  credential?: string;
  peerId: Uint8Array;
  /** Undefined: the client did not say. */
  left?: number;
  uploaded: number;
  downloaded: number;
  clientAddress: Address;
  swarm: Stats;
  /** By info-hash, as hexadecimal digits. */
  swarms: Record<string, Stats>;
  member?: MemberRecord;
  torrent?: TorrentRecord;
  /** By name: a format and the entries, info-hashes as hexadecimal digits. */
  data: Record<string, [format: string, values: string[]]>;
  /** Key-values. */
  values: Record<string, Uint8Array>;
  metrics: Record<string, number>;
  /** The arguments of the last call of each function of `response` and `locality`. */
  changes: Record<string, unknown[]>;
  log: string[];
  published: Record<string, Uint8Array>;
  /** Answers `http.fetch`. */
  fetch?: (method: string, url: string, headers: [string, string][], body: Uint8Array, timeoutMs: number) => Response;
}

export const host: Host;
/** Resets it to a host that knows nothing. */
export function reset(): Host;
/** Returns an announce with these values, and defaults for the others. */
export function announce(values?: Partial<Announce>): Announce;
