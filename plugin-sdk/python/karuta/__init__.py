"""The SDK for policies of the Karuta tracker in Python.

A policy is a class with a method for each hook of its world, created from its configuration::

    from dataclasses import dataclass
    import karuta

    @dataclass
    class Config:
        lowest: int

    class Ports:
        def __init__(self, config: Config, context):
            self.lowest = config.lowest

        def on_announce(self, announce):
            if announce.port < self.lowest:
                return karuta.reject("port not allowed")
            return karuta.Verdict.NEXT

    karuta.export(globals(), Ports, Config)

The hooks are `on_announce`, `on_scrape`, `on_data`, `rank`, `observe` and `tick`. The host functions
are modules: `karuta.request`, `karuta.response`, `karuta.swarm`, `karuta.account`, `karuta.locality`, `karuta.sets`,
`karuta.signatures`, `karuta.keyvalue`, `karuta.log`, `karuta.metrics`; a world that has them adds
`wit_world.imports.http` and `.publisher`. wit/policy.wit says what they take and return.

Times are numbers, in the unit that the WIT names: `response.retry_in(minutes)`, `set_interval(seconds)`,
`remember(scope, seconds)`, `keyvalue.put(key, value, ttl_seconds)`, `http.fetch(..., timeout_ms)`,
`candidate.age_seconds`, `outcome.seconds_since_previous`, `outcome.unix_ms`. What a client did not say is
None; for `left`, ask `karuta.left()`.
"""

import ipaddress

try:
    import wit_world
except ImportError:  # in a test, not in a component
    from . import testing

    testing.install()

from componentize_py_types import Err
from wit_world.imports import (
    account,
    keyvalue,
    locality,
    log,
    metrics,
    request,
    response,
    sets,
    signatures,
    swarm,
)
from wit_world.imports.response import Place, Scope
from wit_world.imports.types import Event, Traits, Transport, Verdict

from .config import ConfigError, read_config

__all__ = [
    "Addresses", "ConfigError", "Err", "Event", "InfoHash", "InfoHashes", "Place", "Scope",
    "Strings", "Traits", "Transport", "Verdict", "account", "address", "address_words", "export",
    "info_hash_text", "keyvalue", "left", "locality", "log", "metrics", "read_config", "reject",
    "request", "response", "sets", "signatures", "swarm",
]

_HOOKS = {
    "on_announce": "AnnounceFilter",
    "on_scrape": "ScrapeFilter",
    "on_data": "DataSink",
    "rank": "PeerRanker",
    "observe": "Observer",
    "tick": "Ticker",
}
_FALLIBLE = ("on_data", "observe", "tick")


def export(module, policy, config):
    """Exports a policy from `module` (its `globals()`). `config` is the dataclass that its
    configuration is read into. A ConfigError, or any other ValueError, is an error for the operator if
    it is raised while the policy is created or by `on_data`, `observe` or `tick`."""
    made = []

    def answer(function, *values):
        try:
            return function(*values)
        except ValueError as error:
            raise Err(str(error)) from error

    def init(self, context):
        made[:] = [answer(lambda: policy(read_config(config, context.config), context))]

    def call(hook):
        if hook in _FALLIBLE:
            return lambda self, *values: answer(getattr(made[0], hook), *values)
        return lambda self, *values: getattr(made[0], hook)(*values)

    module["Lifecycle"] = type("Lifecycle", (), {"init": init})
    for hook, interface in _HOOKS.items():
        if hasattr(policy, hook):
            module[interface] = type(interface, (), {hook: call(hook)})


def reject(reason):
    """Rejects the request with a `failure reason`: `return karuta.reject("unknown passkey")`."""
    response.fail(reason)
    return Verdict.REJECT


def left(outcome=None):
    """Returns how many bytes are left to download, in the current request or in an outcome; None if the
    client did not say."""
    number = request.left() if outcome is None else outcome.left
    return None if number == 2**64 - 1 else number


class InfoHash(tuple):
    """The 20 bytes that name a torrent, as the host's five words; equal to an announce's `info_hash`.
    Created from 40 hexadecimal digits of either case, or from the 64 of a v2 hash, of which the first
    40 count (BEP 52)."""

    def __new__(cls, text):
        try:
            data = bytes.fromhex(text) if len(text) in (40, 64) else b""
        except ValueError:
            data = b""
        if len(data) * 2 != len(text) or not data:
            raise ValueError("must be 40 hexadecimal digits, or 64")
        words = (int.from_bytes(data[at : at + 4], "big") for at in range(0, 20, 4))
        return super().__new__(cls, words)

    def __str__(self):
        return info_hash_text(self)


def info_hash_text(words):
    """Returns an announce's `info_hash` as 40 hexadecimal digits."""
    return "%08x%08x%08x%08x%08x" % tuple(words)


def address(words):
    """Returns the `ipaddress` object of the host's four words, which map IPv4 into IPv6."""
    a, b, c, d = words
    found = ipaddress.IPv6Address(a << 96 | b << 64 | c << 32 | d)
    return found.ipv4_mapped or found


def address_words(found):
    """Returns the host's four words for an `ipaddress` object."""
    bits = int(found) | (0xFFFF << 32 if found.version == 4 else 0)
    return (bits >> 96, bits >> 64 & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF, bits & 0xFFFFFFFF)


class _Source:
    """A data source of the configuration, opened by its name."""

    format = ""

    def __init__(self, name):
        formats = dict(sets.sources())
        if name not in formats:
            raise ValueError(f"there is no data source `{name}`, expected one that `data` declares")
        if formats[name] != self.format:
            raise ValueError(
                f"the data source `{name}` has the format {formats[name]}, expected {self.format}"
            )
        self.handle = sets.open(name)


class InfoHashes(_Source):
    """A data source in the format `info-hashes`: `announce.info_hash in hashes`."""

    format = "info-hashes"

    def __contains__(self, info_hash):
        return sets.has_info_hash(self.handle, tuple(info_hash))


class Strings(_Source):
    """A data source in the format `strings`: `"text" in strings`."""

    format = "strings"

    def __contains__(self, text):
        return sets.has_string(self.handle, text)


class Addresses(_Source):
    """A data source in the format `addresses`."""

    format = "addresses"

    def find(self, words):
        """Returns the number of the longest prefix that contains an announce's `address`; 0 if the
        source gives no number for it, None if no prefix contains the address."""
        return sets.match_address(self.handle, words)
