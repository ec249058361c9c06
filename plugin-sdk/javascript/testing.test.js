import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { announce, functionsOf, host, reset } from './testing.js';

const { infoHashes, left, readConfig, reject, strings } = await import('./index.js');

test('each function of the host has a stand-in', () => {
  const text = readFileSync(new URL('host.d.ts', import.meta.url), 'utf8');
  const modules = text.split(/^declare module 'karuta:policy\//m).slice(1);
  assert.equal(modules.length, 13);
  for (const module of modules) {
    const name = module.slice(0, module.indexOf('@'));
    const functions = [...module.matchAll(/function (\w+)/g)].map(([, each]) => each.replace('remove', 'delete'));
    assert.deepEqual(Object.keys(functionsOf(name) ?? {}).sort(), functions.sort(), name);
  }
});

test('a policy asks the host of the test', () => {
  reset();
  host.data.users = ['strings', ['a']];
  host.data.torrents = ['info-hashes', ['aa'.repeat(20)]];
  const config = readConfig('{"users": "users", "torrents": "torrents"}', { users: strings, torrents: infoHashes });
  const sets = functionsOf('sets');
  assert.equal(sets.hasString(config.users, 'a'), true);
  assert.equal(sets.hasString(config.users, 'b'), false);
  assert.equal(sets.hasInfoHash(config.torrents, announce().infoHash), true);
  assert.throws(() => readConfig('{"users": "others"}', { users: strings }), (error) => error.startsWith('users: there is no'));
  assert.equal(reject('no'), 'reject');
  assert.deepEqual(host.changes, { fail: ['no'] });
});

test('what a client did not say is undefined', () => {
  reset();
  assert.equal(left(), undefined);
  host.left = 0;
  assert.equal(left(), 0);
  for (const [number, said] of [[2 ** 64, undefined], [-1, undefined], [7, 7]]) {
    assert.equal(left({ left: number }), said);
  }
});

test('key-values and metrics are kept until they are reset', () => {
  reset();
  const bytes = (text) => new TextEncoder().encode(text);
  const { get, put, increment, delete: remove } = functionsOf('keyvalue');
  assert.equal(increment(bytes('n'), 2), 2);
  assert.equal(increment(bytes('n'), -3), -1);
  assert.deepEqual(get(bytes('n')), bytes('-1'));
  put(bytes('k'), bytes('v'), undefined);
  assert.deepEqual(host.values.k, bytes('v'));
  remove(bytes('k'));
  assert.equal(get(bytes('k')), undefined);
  const { counter, add } = functionsOf('metrics');
  add(counter('seen_total', 'Seen.'), 2);
  add(counter('seen_total', 'Seen.'), 1);
  assert.equal(host.metrics.seen_total, 3);
  reset();
  assert.deepEqual([host.metrics, get(bytes('n'))], [{}, undefined]);
});
