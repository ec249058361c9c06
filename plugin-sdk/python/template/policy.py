"""Rejects announces of ports below a lowest one."""

from dataclasses import dataclass

import karuta
from karuta import Verdict


@dataclass
class Config:
    lowest_port: int


class Ports:
    def __init__(self, config, context):
        self.lowest = config.lowest_port

    def on_announce(self, announce):
        if announce.port < self.lowest:
            return karuta.reject("port not allowed")
        return Verdict.NEXT


karuta.export(globals(), Ports, Config)
