// A host for tests, which `node --test` runs outside of a component: see testing.d.ts.

import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const HOST = 'karuta:policy/';

export const host = {};

export function reset() {
  return Object.assign(host, {
    query: {}, path: {}, headers: {}, attributes: {}, credential: undefined,
    left: undefined, uploaded: 0, downloaded: 0, clientAddress: [0, 0, 0xffff, 0xc0000201],
    peerId: new TextEncoder().encode('-TR4050-abcdefghijkl'),
    swarm: { seeders: 0, leechers: 0, completed: 0 }, swarms: {}, member: undefined, torrent: undefined, data: {}, values: {}, metrics: {},
    changes: {}, log: [], published: {}, fetch: undefined,
  });
}

export function announce(values) {
  return {
    infoHash: Array(5).fill(0xaaaaaaaa), address: [0, 0, 0xffff, 0xc0000201], client: [0, 0], port: 6881,
    event: 'none', transport: 'http', numWant: 50, traits: {}, ...values,
  };
}

const changed = (name) => (...values) => {
  host.changes[name] = values;
};

function open(name) {
  if (!Object.hasOwn(host.data, name)) throw `there is no data source \`${name}\``;
  return Object.keys(host.data).indexOf(name);
}

const holds = (set, value) => Object.values(host.data)[set][1].includes(value);
const hex = (words) => words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
const key = (bytes) => new TextDecoder().decode(bytes);
const fail = (message) => {
  throw message;
};

function increment(bytes, delta) {
  const known = host.values[key(bytes)];
  const count = Number(known ? key(known) : 0) + delta;
  host.values[key(bytes)] = new TextEncoder().encode(String(count));
  return count;
}

function metric(name) {
  host.metrics[name] ??= 0;
  return Object.keys(host.metrics).indexOf(name);
}

const metricOf = (id) => Object.keys(host.metrics)[id];

const CHANGES = ['fail', 'retryIn', 'warn', 'setInterval', 'setMinInterval', 'setNumWant', 'addPeer', 'setAttribute', 'hide', 'remember'];

// By the names of the host's modules.
const modules = {
  request: {
    peerId: () => host.peerId,
    queryParam: (name) => host.query[name],
    pathParam: (name) => host.path[name],
    header: (name) => host.headers[name],
    attribute: (name) => host.attributes[name],
    credential: () => host.credential,
    left: () => host.left ?? -1,
    uploaded: () => host.uploaded,
    downloaded: () => host.downloaded,
    clientAddress: () => host.clientAddress,
    socketAddress: () => [host.clientAddress, 6881],
  },
  response: {
    ...Object.fromEntries(CHANGES.map((name) => [name, changed(name)])),
    interval: () => 1800,
    minInterval: () => 900,
  },
  swarm: { current: () => host.swarm, lookup: (infoHash) => host.swarms[hex(infoHash)] },
  account: {
    member: () => host.member,
    torrent: () => host.torrent,
    credit: changed('credit'),
    hidePeer: changed('hidePeer'),
  },
  locality: {
    define(plan) {
      host.changes.define = [plan];
      return 0;
    },
    defineWithGateways(plan, gateways) {
      host.changes.defineWithGateways = [plan, gateways];
      return 0;
    },
    assign: changed('assign'),
  },
  sets: {
    sources: () => Object.entries(host.data).map(([name, [format]]) => [name, format]),
    open,
    hasInfoHash: (set, infoHash) => holds(set, hex(infoHash)),
    hasString: holds,
    matchAddress: () => undefined,
    size: (set) => Object.values(host.data)[set][1].length,
    refresh() {},
  },
  signatures: { loadKey: () => fail('there are no keys in tests'), forgetKey() {}, verify: () => false },
  keyvalue: {
    get: (bytes) => host.values[key(bytes)],
    put: (bytes, value) => {
      host.values[key(bytes)] = value;
    },
    delete: (bytes) => {
      delete host.values[key(bytes)];
    },
    increment,
  },
  log: { enabled: () => true, write: (level, message) => host.log.push(message) },
  metrics: {
    counter: metric,
    gauge: metric,
    add(id, delta) {
      host.metrics[metricOf(id)] += delta;
    },
    set(id, value) {
      host.metrics[metricOf(id)] = value;
    },
  },
  http: {
    fetch: (...request) => (host.fetch ?? (() => fail('the test has no `host.fetch`')))(...request),
  },
  publisher: {
    publish(name, bytes) {
      host.published[name] = bytes;
    },
  },
};

/** The functions of one of the host's modules. */
export const functionsOf = (name) => modules[name];

// These hooks let Node load the host's modules, whose scheme it does not know.

export async function resolve(specifier, context, next) {
  if (!specifier.startsWith(HOST)) return next(specifier, context);
  return { url: specifier, format: 'module', shortCircuit: true };
}

export async function load(url, context, next) {
  if (!url.startsWith(HOST)) return next(url, context);
  const name = url.slice(HOST.length).replace(/@.*/, '');
  // `delete` can be the name of an export, but not of a variable.
  const exports = Object.keys(modules[name] ?? {}).map(
    (each) => `const _${each} = functions.${each}; export { _${each} as ${each} };`,
  );
  const source = [
    `import { functionsOf } from ${JSON.stringify(import.meta.url)};`,
    `const functions = functionsOf(${JSON.stringify(name)});`,
    ...exports,
  ];
  return { format: 'module', source: source.join('\n'), shortCircuit: true };
}

if (isMainThread) {
  reset();
  register(import.meta.url);
}
