// @ts-check
// Rejects announces of ports below a lowest one.

import * as karuta from './karuta/index.js';

let lowest = 0;

export const lifecycle = {
  /** @param {karuta.Context} context */
  init(context) {
    lowest = karuta.readConfig(context.config, { lowest_port: karuta.integer }).lowest_port;
  },
};

export const announceFilter = {
  /** @param {karuta.Announce} announce */
  onAnnounce(announce) {
    return announce.port < lowest ? karuta.reject('port not allowed') : 'next';
  },
};
