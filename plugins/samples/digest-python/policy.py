"""Posts a digest of announce outcomes to a webhook on each `tick`, if there were any.

The collected counts are a key-value of the policy, so a reload loses nothing.
"""

import heapq  # Counter.most_common imports it only when called, which is too late here
import json
from collections import Counter
from dataclasses import dataclass

import karuta
from karuta import keyvalue, log
from wit_world.imports import http

KEY = b"gathered"
TIMEOUT_MS = 5000


@dataclass
class Config:
    url: str
    # the number of torrents in a digest
    top: int = 5


class Digest:
    def __init__(self, config, context):
        if not config.url.startswith(("http://", "https://")):
            raise karuta.ConfigError("url", "must begin with https:// or http://")
        self.config = config
        self.name = context.name
        found = json.loads(keyvalue.get(KEY) or "{}")
        self.last = found.get("last", 0)
        self.verdicts = Counter(found.get("verdicts"))
        self.decided_by = Counter(found.get("decided_by"))
        self.torrents = Counter(found.get("torrents"))

    def observe(self, batch):
        for outcome in batch:
            if outcome.id <= self.last:
                continue  # offered again
            self.last = outcome.id
            self.verdicts[outcome.verdict.name.lower()] += 1
            if outcome.decided_by is not None:
                self.decided_by[outcome.decided_by] += 1
            self.torrents[karuta.info_hash_text(outcome.announce.info_hash)] += 1
        self.keep()

    def keep(self):
        gathered = {
            "last": self.last,
            "verdicts": self.verdicts,
            "decided_by": self.decided_by,
            "torrents": dict(self.torrents.most_common(1000)),
        }
        keyvalue.put(KEY, json.dumps(gathered).encode(), None)

    def tick(self, unix_ms):
        if not self.verdicts:
            return
        body = json.dumps(self.digest()).encode()
        headers = [("content-type", "application/json")]
        answer = http.fetch("POST", self.config.url, headers, body, TIMEOUT_MS)
        if answer.status >= 300:
            raise karuta.Err(f"the webhook answered {answer.status}")
        log.write(log.Level.DEBUG, "posted a digest")
        self.verdicts.clear()
        self.decided_by.clear()
        self.torrents.clear()
        self.keep()

    def digest(self):
        announces = self.verdicts.total()
        refused = self.verdicts["reject"] + self.verdicts["drop"]
        return {
            "text": f"{self.name}: {announces} announces, {refused} of them refused",
            "announces": announces,
            "verdicts": self.verdicts,
            "decided_by": self.decided_by,
            "torrents": [
                {"info_hash": info_hash, "announces": count}
                for info_hash, count in self.torrents.most_common(self.config.top)
            ],
        }


karuta.export(globals(), Digest, Config)
