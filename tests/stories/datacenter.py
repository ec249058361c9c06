"""Distributes a file to the hosts of a data centre: libtorrent clients, each at its own address.

Rack r has the hosts 127.10.r.1, 127.10.r.2 and so on. The origin of the file is outside of the racks,
at 127.10.0.1. All hosts first announce without asking for peers. Then all ask for peers, once, or
with --again every so many seconds until they have the file. With --kill, hosts that exchange with other
racks vanish when a third of the data is there. The output is JSON: what each host received from each
other, as counted by the clients, and how much had crossed racks over time.
"""

import argparse
import hashlib
import json
import os
import sys
import time

import libtorrent as lt

ORIGIN = "127.10.0.1"
NAME = "release.bin"
# Bytes.
PIECE = 64 * 1024
# Bytes per second.
UPLOAD = 1024 * 1024
UPLOAD_OF_ORIGIN = 4 * UPLOAD
# The time limit of the whole run, in seconds.
PATIENCE = 120


def content(size):
    """Returns bytes that look random, always the same."""
    blocks = (hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def torrent(data, tracker):
    """Returns a private torrent (BEP 27), so that peers come only from the tracker."""
    pieces = (hashlib.sha1(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE))
    info = {
        b"length": len(data),
        b"name": NAME.encode(),
        b"piece length": PIECE,
        b"pieces": b"".join(pieces),
        b"private": 1,
    }
    return lt.torrent_info(lt.bencode({b"announce": tracker.encode(), b"info": info}))


def rack(address):
    """Returns the rack of an address."""
    return address.split(".")[2]


class Host:
    def __init__(self, address, folder, info, rate):
        self.address = address
        self.file = os.path.join(folder, NAME)
        self.session = lt.session(
            {
                "listen_interfaces": f"{address}:0",
                "outgoing_interfaces": address,
                "alert_mask": lt.alert.category_t.tracker_notification
                | lt.alert.category_t.error_notification,
                "num_want": 0,
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "enable_incoming_utp": False,
                "enable_outgoing_utp": False,
                # The counts of a connection are lost when it closes.
                "close_redundant_connections": False,
                "aio_threads": 1,
                "hashing_threads": 1,
            }
        )
        torrent = lt.add_torrent_params()
        torrent.ti = info
        torrent.save_path = folder
        torrent.upload_limit = rate
        torrent.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        self.torrent = self.session.add_torrent(torrent)
        self.answered = 0
        self.rack = rack(address)
        # Bytes received on each connection so far, by the address and port of the peer.
        self.got = {}

    def look(self):
        """Processes the events since the last time."""
        for alert in self.session.pop_alerts():
            if isinstance(alert, lt.tracker_reply_alert):
                self.answered += 1
            elif isinstance(alert, lt.tracker_error_alert):
                # libtorrent announces again by itself.
                print(f"{self.address}: {alert.message()}", file=sys.stderr)
        for peer in self.torrent.get_peer_info():
            self.got[peer.ip] = max(self.got.get(peer.ip, 0), peer.total_download)

    def ask(self, want):
        """Announces again, and asks for `want` peers."""
        self.session.apply_settings({"num_want": want})
        self.torrent.force_reannounce(0, -1, lt.reannounce_flags_t.ignore_min_interval)

    def vanish(self):
        """Leaves without a word, as a machine that fails."""
        self.look()
        self.torrent.replace_trackers([])
        self.session.remove_torrent(self.torrent)

    def crosses(self):
        """Returns whether it is connected to another rack."""
        return any(rack(peer.ip[0]) != self.rack for peer in self.torrent.get_peer_info())

    def has_all(self):
        return self.torrent.status().is_seeding

    def file_is(self, digest):
        with open(self.file, "rb") as file:
            return hashlib.sha256(file.read()).digest() == digest

    def across(self):
        """Returns the bytes received from other racks."""
        return sum(count for (ip, _), count in self.got.items() if rack(ip) != self.rack)

    def summary(self):
        by_address = {}
        for (address, _), count in self.got.items():
            by_address[address] = by_address.get(address, 0) + count
        return {"address": self.address, "from": by_address}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tracker", required=True, help="announce URL")
    parser.add_argument("--folder", required=True, help="an empty folder for everybody's files")
    parser.add_argument("--racks", type=int, required=True)
    parser.add_argument("--hosts", type=int, required=True, help="of each rack")
    parser.add_argument("--size", type=int, required=True, help="bytes of the file")
    parser.add_argument("--want", type=int, required=True, help="peers that a host asks for")
    parser.add_argument("--again", type=float, help="seconds after which everybody asks again")
    parser.add_argument("--kill", type=int, default=0, help="hosts that vanish")
    options = parser.parse_args()

    def folder(address):
        path = os.path.join(options.folder, address)
        os.mkdir(path)
        return path

    data = content(options.size)
    at_origin = folder(ORIGIN)
    with open(os.path.join(at_origin, NAME), "wb") as file:
        file.write(data)
    info = torrent(data, options.tracker)

    racks = range(1, options.racks + 1)
    addresses = [f"127.10.{rack}.{host}" for rack in racks for host in range(1, options.hosts + 1)]
    origin = Host(ORIGIN, at_origin, info, UPLOAD_OF_ORIGIN)
    leechers = [Host(address, folder(address), info, UPLOAD) for address in addresses]
    hosts = [origin, *leechers]
    deadline = time.monotonic() + PATIENCE

    def wait(what, holds, meanwhile=lambda: None):
        while True:
            for host in hosts:
                host.look()
            meanwhile()
            left = [host for host in hosts if not holds(host)]
            if not left:
                return
            if time.monotonic() > deadline:
                sys.exit(f"not in {PATIENCE} s: {what} ({len(left)} hosts)")
            time.sleep(0.1)

    wait("the origin has the file", lambda host: host is not origin or host.has_all())
    wait("the tracker knows everybody", lambda host: host.answered > 0)
    started = time.monotonic()
    over_time = []
    vanished = []
    asked = started

    def ask():
        for host in hosts:
            if not host.has_all() or host is origin:
                host.ask(options.want)

    def meanwhile():
        nonlocal asked
        now = time.monotonic()
        over_time.append([now - started, sum(host.across() for host in leechers)])
        if options.again and now > asked + options.again:
            asked = now
            ask()
        got = sum(host.torrent.status().total_wanted_done for host in hosts[1:])
        if len(vanished) < options.kill and 3 * got > options.size * len(leechers):
            kill()

    def kill():
        racks = set()
        for host in list(hosts[1:]):
            if len(racks) < options.kill and host.rack not in racks and host.crosses():
                racks.add(host.rack)
                vanished.append(host)
                hosts.remove(host)
                host.vanish()

    ask()
    wait("everybody has the file", Host.has_all, meanwhile)
    seconds = time.monotonic() - started

    digest = hashlib.sha256(data).digest()
    wait("every file is the right one", lambda host: host.file_is(digest))
    result = {
        "seconds": seconds,
        "across": over_time,
        "vanished": [host.address for host in vanished],
        "hosts": [host.summary() for host in leechers],
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
