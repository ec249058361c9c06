"""Rejects `started` announces of listed torrents between two times of day, and tells the client
when to come back."""

import re
import time
from dataclasses import dataclass, field

import karuta
from karuta import Event, Scope, Verdict, response

DAY = 24 * 60 * 60


class TimeOfDay(int):
    """Seconds since midnight in UTC, written as `22:00`."""

    def __new__(cls, text):
        found = re.fullmatch("([01][0-9]|2[0-3]):([0-5][0-9])", text)
        if not found:
            raise ValueError("must be a time of day such as 22:00")
        return super().__new__(cls, int(found[1]) * 3600 + int(found[2]) * 60)

    def __str__(self):
        return f"{self // 3600:02}:{self // 60 % 60:02}"


@dataclass
class Config:
    from_: TimeOfDay
    to: TimeOfDay
    torrents: set[karuta.InfoHash] = field(default_factory=set)
    torrents_from: karuta.InfoHashes | None = None


def until(now, then):
    """Returns the seconds from one time of day to another."""
    return (then - now) % DAY


def remember(seconds):
    """Remembers the verdict for one second less, because the current one has begun."""
    if seconds > 1:
        response.remember(Scope.INFO_HASH | Scope.EVENT, seconds - 1)


class QuietHours:
    def __init__(self, config, context):
        if config.from_ == config.to:
            raise karuta.ConfigError("to", "must differ from `from`")
        self.config = config

    def on_announce(self, announce):
        if announce.event != Event.STARTED:
            return Verdict.NEXT
        config = self.config
        now = int(time.time()) % DAY
        quiet = until(now, config.to)
        is_quiet = 0 < quiet <= until(config.from_, config.to)
        if not is_quiet or not self.is_listed(announce.info_hash):
            remember(quiet if is_quiet else until(now, config.from_))
            return Verdict.NEXT
        minutes = -(-quiet // 60)
        response.retry_in(minutes)
        # The client gets whole minutes, rounded up. Remember only while they stay the same.
        remember(quiet - (minutes - 1) * 60)
        return karuta.reject(f"quiet hours until {config.to} UTC")

    def is_listed(self, info_hash):
        config = self.config
        return info_hash in config.torrents or (
            config.torrents_from is not None and info_hash in config.torrents_from
        )


karuta.export(globals(), QuietHours, Config)
