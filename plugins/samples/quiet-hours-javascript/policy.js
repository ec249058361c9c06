// Rejects `started` announces of listed torrents between two times of day, and tells the client
// when to come back.

import * as response from 'karuta:policy/response@0.1.0';
import { hasInfoHash } from 'karuta:policy/sets@0.1.0';
import * as karuta from './karuta/index.js';

const DAY = 24 * 60 * 60;

/** Seconds since midnight in UTC. */
const timeOfDay = karuta.parsed((text) => {
  const found = /^([01][0-9]|2[0-3]):([0-5][0-9])$/.exec(text);
  if (!found) throw 'must be a time of day such as 22:00';
  return Number(found[1]) * 3600 + Number(found[2]) * 60;
});

let config;
let listed;

export const lifecycle = {
  init(context) {
    config = karuta.readConfig(context.config, {
      torrents: karuta.optional(karuta.list(karuta.infoHash), []),
      torrents_from: karuta.optional(karuta.infoHashes),
      from: timeOfDay,
      to: timeOfDay,
    });
    if (config.from === config.to) throw karuta.configError('to', 'must differ from `from`');
    config.until = JSON.parse(context.config).to;
    listed = new Set(config.torrents);
  },
};

/** Returns the seconds from one time of day to another. */
const until = (now, then) => (then - now + DAY) % DAY;

/** Remembers the verdict for one second less, because the current one has begun. */
function remember(seconds) {
  if (seconds > 1) response.remember({ infoHash: true, event: true }, seconds - 1);
}

function isListed(infoHash) {
  return (
    listed.has(karuta.infoHashText(infoHash)) ||
    (config.torrents_from !== undefined && hasInfoHash(config.torrents_from, infoHash))
  );
}

export const announceFilter = {
  onAnnounce(announce) {
    if (announce.event !== 'started') return 'next';
    const now = Math.floor(Date.now() / 1000) % DAY;
    const quiet = until(now, config.to);
    const isQuiet = quiet !== 0 && quiet <= until(config.from, config.to);
    if (!isQuiet || !isListed(announce.infoHash)) {
      remember(isQuiet ? quiet : until(now, config.from));
      return 'next';
    }
    const minutes = Math.ceil(quiet / 60);
    response.retryIn(minutes);
    // The client gets whole minutes, rounded up. Remember only while they stay the same.
    remember(quiet - (minutes - 1) * 60);
    return karuta.reject(`quiet hours until ${config.until} UTC`);
  },
};
