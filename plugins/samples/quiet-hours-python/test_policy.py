import datetime
import unittest
from unittest import mock

import karuta.testing
import policy

START = karuta.testing.announce(info_hash=karuta.InfoHash("b9" * 20), event=karuta.Event.STARTED)


class QuietHours(unittest.TestCase):
    def setUp(self):
        self.host = karuta.testing.reset()
        self.host.data["listed"] = ("info-hashes", {START.info_hash})
        text = '{"from": "22:00", "to": "06:00", "torrents_from": "listed"}'
        self.policy = policy.QuietHours(karuta.read_config(policy.Config, text), None)

    def verdict_at(self, hour, announce):
        clock = datetime.datetime(2026, 1, 5, hour, tzinfo=datetime.timezone.utc)
        with mock.patch("time.time", clock.timestamp):
            return self.policy.on_announce(announce)

    def test_a_start_at_night_is_rejected_with_a_retry_time(self):
        self.assertEqual(self.verdict_at(23, START), karuta.Verdict.REJECT)
        self.assertEqual(self.host.changes["fail"], ("quiet hours until 06:00 UTC",))
        self.assertEqual(self.host.changes["retry_in"], (420,))

    def test_other_announces_are_admitted(self):
        other = karuta.testing.announce(event=karuta.Event.STARTED)
        self.assertEqual(self.verdict_at(23, other), karuta.Verdict.NEXT)
        self.assertEqual(self.verdict_at(6, START), karuta.Verdict.NEXT)
