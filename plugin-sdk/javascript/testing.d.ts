// A host for tests: outside of a component the modules `karuta:policy/NAME@0.1.0` are this one's.
// A test imports this first and its policy behind it:
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

import type { Address, Announce } from './index.js';
import type { Response } from 'karuta:policy/http@0.1.0';
import type { Stats } from 'karuta:policy/swarm@0.1.0';

/** What the policy asks for, and what it did. */
export interface Host {
  query: Record<string, string>;
  path: Record<string, string>;
  headers: Record<string, string>;
  attributes: Record<string, string>;
  credential?: string;
  peerId: Uint8Array;
  left: number;
  uploaded: number;
  downloaded: number;
  clientAddress: Address;
  swarm: Stats;
  /** By the digits of their info-hashes. */
  swarms: Record<string, Stats>;
  /** By name: a format, and what there is of it, info-hashes by their digits. */
  data: Record<string, [format: string, values: string[]]>;
  /** Key-values. */
  values: Record<string, Uint8Array>;
  metrics: Record<string, number>;
  /** By the function of `response` or `locality` that was called, with what; the last call counts. */
  changes: Record<string, unknown[]>;
  log: string[];
  published: Record<string, Uint8Array>;
  /** Answers `http.fetch`. */
  fetch?: (method: string, url: string, headers: [string, string][], body: Uint8Array, timeoutMs: number) => Response;
}

export const host: Host;
/** Makes it a host that knows nothing. */
export function reset(): Host;
/** An announce of these values, and of ones that do not matter. */
export function announce(values?: Partial<Announce>): Announce;
