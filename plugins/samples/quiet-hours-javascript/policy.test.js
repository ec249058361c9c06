import assert from 'node:assert/strict';
import test from 'node:test';

import { announce, host, reset } from './karuta/testing.js';

// The policy must be imported after its host.
const { announceFilter, lifecycle } = await import('./policy.js');

test('a start at night is rejected with a retry time', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2026, 0, 5, 23) });
  reset();
  host.data.listed = ['info-hashes', ['b94a8fe5ccb19ba61c4c0873d391e987982fbbd3']];
  lifecycle.init({ config: '{"from": "22:00", "to": "06:00", "torrents_from": "listed"}' });
  const infoHash = [0xb94a8fe5, 0xccb19ba6, 0x1c4c0873, 0xd391e987, 0x982fbbd3];
  assert.equal(announceFilter.onAnnounce(announce({ infoHash, event: 'started' })), 'reject');
  assert.deepEqual(host.changes.fail, ['quiet hours until 06:00 UTC']);
  assert.deepEqual(host.changes.retryIn, [420]);
  assert.equal(announceFilter.onAnnounce(announce({ event: 'started' })), 'next', 'not listed');
  t.mock.timers.setTime(Date.UTC(2026, 0, 6, 6));
  assert.equal(announceFilter.onAnnounce(announce({ infoHash, event: 'started' })), 'next', 'day');
});
