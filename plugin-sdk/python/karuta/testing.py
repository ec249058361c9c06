"""A host for tests: outside of a component `import karuta` uses this one.

    import karuta.testing, policy

    def test_low_ports():
        host = karuta.testing.reset()
        ports = policy.Ports(policy.Config(lowest_port=1024), None)
        assert ports.on_announce(karuta.testing.announce(port=80)) == karuta.Verdict.REJECT
        assert host.changes["fail"] == ("port not allowed",)

It makes none of the host's checks: texts are not cut, intervals and key-values are not bounded, and
nothing expires. The modules `locality`, `metrics`, `signatures`, `swarm`, `http` and `publisher` are empty:
a test sets the functions that its policy calls. `karuta plugin test` runs a component on the real host.
"""

import enum
import sys
import types
from dataclasses import dataclass

Event = enum.Enum("Event", ["NONE", "STARTED", "STOPPED", "COMPLETED", "PAUSED"], start=0)
Transport = enum.Enum("Transport", ["UDP", "HTTP", "HTTPS", "WEBSOCKET"], start=0)
Verdict = enum.Enum("Verdict", ["NEXT", "ACCEPT", "REJECT", "DROP"], start=0)
Traits = enum.Flag("Traits", ["SEEDER", "IPV6", "PROXIED", "OVERRIDDEN", "CREDENTIAL"])
Place = enum.Enum("Place", ["FIRST", "MIXED"], start=0)
Scope = enum.Flag(
    "Scope",
    "INFO_HASH ADDRESS CLIENT CREDENTIAL EVENT TRANSPORT PEER_ID PORT ROLE",
)


@dataclass(frozen=True)
class Err(Exception):
    value: object


class Host:
    """What the policy asks for, and in `changes` how it changed the answer: the arguments of the last call
    of each function, in the units of the WIT."""

    def __init__(self):
        self.query, self.path, self.headers, self.attributes = {}, {}, {}, {}
        self.credential = None
        # None: the client did not say
        self.left = None
        self.uploaded, self.downloaded = 0, 0
        self.peer_id = b"-TR4050-abcdefghijkl"
        # name: (format, the set of its entries)
        self.data = {}
        # what `account` returns: `types.SimpleNamespace(id=7, rights=Rights.ENABLED, …)`
        self.member, self.torrent = None, None
        self.values = {}
        self.changes = {}
        self.log = []


host = Host()


def reset():
    """Resets the host to one that knows nothing, and returns it."""
    host.__init__()
    return host


def announce(**values):
    """Returns an announce with these values, and defaults for the others."""
    usual = {
        "info_hash": (0xAAAAAAAA,) * 5, "address": (0, 0, 0xFFFF, 0xC0000201), "client": (0, 0),
        "port": 6881, "event": Event.NONE, "transport": Transport.HTTP, "num_want": 50,
        "traits": Traits(0),
    }
    return types.SimpleNamespace(**usual | values)


def _changed(name):
    def change(*values):
        host.changes[name] = values
    return change


def _increment(key, delta, ttl_seconds):
    count = int(host.values.get(key, b"0")) + delta
    host.values[key] = str(count).encode()
    return count


def _open(name):
    if name not in host.data:
        raise Err(f"there is no data source `{name}`")
    return list(host.data).index(name)


def _holds(handle, value):
    return value in list(host.data.values())[handle][1]


_CHANGES = (
    "fail retry_in warn set_interval set_min_interval set_num_want add_peer set_attribute hide "
    "remember"
)

_MODULES = {
    "types": {"Event": Event, "Transport": Transport, "Verdict": Verdict, "Traits": Traits},
    "request": {
        "peer_id": lambda: host.peer_id,
        "left": lambda: 2**64 - 1 if host.left is None else host.left,
        "uploaded": lambda: host.uploaded,
        "downloaded": lambda: host.downloaded,
        "query_param": lambda name: host.query.get(name),
        "path_param": lambda name: host.path.get(name),
        "header": lambda name: host.headers.get(name),
        "attribute": lambda name: host.attributes.get(name),
        "credential": lambda: host.credential,
    },
    "response": {name: _changed(name) for name in _CHANGES.split()}
    | {"Place": Place, "Scope": Scope, "interval": lambda: 1800, "min_interval": lambda: 900},
    "account": {
        "Rights": enum.Flag("Rights", "ENABLED LEECH VISIBLE IMMUNE FREELEECH DOUBLE_UPLOAD"),
        "Marks": enum.Flag("Marks", "APPROVED DELETED FREE NEUTRAL FEATURED TOKEN"),
        "member": lambda: host.member,
        "torrent": lambda: host.torrent,
        "credit": _changed("credit"),
        "hide_peer": _changed("hide_peer"),
    },
    "sets": {
        "sources": lambda: [(name, kind) for name, (kind, _) in host.data.items()],
        "open": _open,
        "has_info_hash": _holds,
        "has_string": _holds,
    },
    "keyvalue": {
        "get": lambda key: host.values.get(key),
        "put": lambda key, value, ttl_seconds: host.values.__setitem__(key, value),
        "delete": lambda key: host.values.pop(key, None),
        "increment": _increment,
    },
    "log": {
        "Level": enum.Enum("Level", ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], start=0),
        "enabled": lambda level: True,
        "write": lambda level, message: host.log.append(message),
    },
    "locality": {}, "metrics": {}, "signatures": {}, "swarm": {}, "http": {}, "publisher": {},
}


def install():
    """Installs the host's modules where a component has them."""
    for name in ("wit_world", "wit_world.imports", "componentize_py_types"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["componentize_py_types"].Err = Err
    imports = sys.modules["wit_world"].imports = sys.modules["wit_world.imports"]
    for name, values in _MODULES.items():
        module = types.ModuleType(f"wit_world.imports.{name}")
        module.__dict__.update(values)
        sys.modules[module.__name__] = module
        setattr(imports, name, module)
