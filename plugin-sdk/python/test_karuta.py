import unittest
from dataclasses import dataclass, field

import karuta
import karuta.testing

HASH = "000102030405060708090a0b0c0d0e0f10111213"


@dataclass
class Site:
    name: str


@dataclass
class Config:
    lowest: int
    from_: karuta.InfoHash | None = None
    share: float = 0.5
    names: list[str] = field(default_factory=list)
    hashes: set[karuta.InfoHash] = field(default_factory=set)
    sites: dict[str, Site] = field(default_factory=dict)


class ReadConfig(unittest.TestCase):
    def test_values_are_read(self):
        text = f'{{"lowest": 1, "from": "{HASH}", "share": 1, "hashes": ["{HASH}"], "sites": {{"a": {{"name": "b"}}}}}}'
        config = karuta.read_config(Config, text)
        self.assertEqual((config.lowest, config.share, config.sites), (1, 1.0, {"a": Site("b")}))
        self.assertIn((0x00010203, 0x04050607, 0x08090A0B, 0x0C0D0E0F, 0x10111213), config.hashes)
        self.assertEqual(str(config.from_), HASH)

    def test_errors_name_the_path(self):
        cases = {
            "{}": "missing key `lowest`",
            "null": "missing key `lowest`",
            "[1]": "the configuration is not a mapping",
            '{"lowest": true}': "lowest: expected a whole number",
            '{"lowest": 1, "names": ["a", 5]}': "names[1]: expected a text",
            '{"lowest": 1, "hashes": ["a94a"]}': "hashes[0]: must be 40 hexadecimal digits, or 64",
            '{"lowest": 1, "sites": {"a": {}}}': "sites.a: missing key `name`",
            '{"lowest": 1, "other": 1}': "other: unknown key, expected one of lowest, from, share, names, hashes, sites",
        }
        for text, message in cases.items():
            with self.assertRaises(ValueError, msg=text) as caught:
                karuta.read_config(Config, text)
            self.assertEqual(str(caught.exception), message)


class Ports:
    def __init__(self, config, context):
        self.lowest = config.lowest

    def on_announce(self, announce):
        return karuta.reject("no") if announce.port < self.lowest else karuta.Verdict.NEXT


class Export(unittest.TestCase):
    def test_hooks_are_called_on_what_init_made(self):
        host = karuta.testing.reset()
        module = {}
        karuta.export(module, Ports, Config)
        self.assertEqual(set(module), {"Lifecycle", "AnnounceFilter"})
        context = type("Context", (), {"config": '{"lowest": 1024}'})
        module["Lifecycle"]().init(context)
        filter = module["AnnounceFilter"]()
        self.assertEqual(filter.on_announce(karuta.testing.announce(port=80)), karuta.Verdict.REJECT)
        self.assertEqual(host.changes["fail"], ("no",))
        self.assertEqual(filter.on_announce(karuta.testing.announce(port=1024)), karuta.Verdict.NEXT)
        context.config = "{}"
        with self.assertRaises(karuta.Err):
            module["Lifecycle"]().init(context)


class Sink(Ports):
    def on_data(self, name, version, data):
        data.decode("utf-8-sig")

    def tick(self, unix_ms):
        raise KeyError(unix_ms)


class Errors(unittest.TestCase):
    def test_a_value_error_is_an_answer_and_any_other_is_a_crash(self):
        module = {}
        karuta.export(module, Sink, Config)
        context = type("Context", (), {"config": '{"lowest": 1024}'})
        module["Lifecycle"]().init(context)
        module["DataSink"]().on_data("a", 1, b"text")
        with self.assertRaises(karuta.Err) as caught:
            module["DataSink"]().on_data("a", 2, b"\xff")
        self.assertIn("can't decode byte 0xff", caught.exception.value)
        with self.assertRaises(KeyError):
            module["Ticker"]().tick(0)


class Values(unittest.TestCase):
    def test_what_a_client_did_not_say_is_none(self):
        host = karuta.testing.reset()
        self.assertIsNone(karuta.left())
        host.left = 0
        self.assertEqual(karuta.left(), 0)
        for left, said in ((2**64 - 1, None), (7, 7)):
            outcome = type("Outcome", (), {"left": left})
            self.assertEqual(karuta.left(outcome), said)

    def test_addresses_are_words_both_ways(self):
        for text in ("192.0.2.1", "2001:db8::1"):
            found = karuta.address(karuta.address_words(karuta.ipaddress.ip_address(text)))
            self.assertEqual(str(found), text)

    def test_sources_are_opened_by_name(self):
        host = karuta.testing.reset()
        host.data["users"] = ("strings", {"a"})
        users = karuta.Strings("users")
        self.assertTrue("a" in users and "b" not in users)
        for kind, name in ((karuta.InfoHashes, "users"), (karuta.Strings, "none")):
            with self.assertRaises(ValueError):
                kind(name)


if __name__ == "__main__":
    unittest.main()
