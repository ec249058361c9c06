"""A libtorrent client: `share.py ADDRESS TORRENT`.

It shares the torrent's files in the folder `files` at an address of its own, until it is killed or
interrupted. What trackers say is printed. When it is interrupted, it stops at its trackers, and prints the
bytes that it has moved. SIGHUP lets it announce at once, as users of such clients can.
"""

import argparse
import json
import signal

import libtorrent as lt

ALL = {"ipv4": ("0.0.0.0", "255.255.255.255"), "ipv6": ("::", ":".join(["ffff"] * 8))}


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--also", metavar="ADDRESS", help="is there, too")
    parser.add_argument("--only", metavar="FILE", help="shares only this file")
    parser.add_argument("--refuse", choices=ALL, help="has no peers of this family")
    parser.add_argument("--peer", metavar="ADDRESS:PORT", help="knows this peer from before")
    parser.add_argument("address")
    parser.add_argument("torrent")
    return parser.parse_args()


def settings(addresses):
    hosts = [f"[{address}]" if ":" in address else address for address in addresses]
    made = {
        "listen_interfaces": ",".join(f"{host}:0" for host in hosts),
        "alert_mask": lt.alert.category_t.tracker_notification
        | lt.alert.category_t.error_notification,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # One connection to each peer. Of two, it closes one, and what is under way there is lost.
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        # Each client is another one, also where several have one address.
        "allow_multiple_connections_per_ip": True,
        # A tracker for each family.
        "announce_to_all_tiers": True,
        "apply_ip_filter_to_trackers": False,
    }
    if len(addresses) == 1:
        # Of several, it takes one in turn, whatever the family.
        made["outgoing_interfaces"] = addresses[0]
    return made


def main():
    arguments = read_arguments()
    session = lt.session(settings([arguments.address] + [arguments.also] * bool(arguments.also)))
    if arguments.refuse:
        refused = lt.ip_filter()
        refused.add_rule(*ALL[arguments.refuse], 1)
        session.set_ip_filter(refused)
    share = lt.add_torrent_params()
    share.ti = lt.torrent_info(arguments.torrent)
    share.save_path = "files"
    if arguments.only:
        files = share.ti.layout()
        wanted = (files.file_path(at) == arguments.only for at in range(files.num_files()))
        share.file_priorities = [4 if want else 0 for want in wanted]
    if arguments.peer:
        host, port = arguments.peer.rsplit(":", 1)
        share.peers = [(host, int(port))]
    share.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    shared = session.add_torrent(share)
    at_once = (0, -1, lt.reannounce_flags_t.ignore_min_interval)
    signal.signal(signal.SIGHUP, lambda *_: shared.force_reannounce(*at_once))
    # Whoever started this may ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            session.wait_for_alert(1000)
            for alert in session.pop_alerts():
                print(alert.message(), flush=True)
    except KeyboardInterrupt:
        shared.pause()
        moved = shared.status()
        print(
            json.dumps(
                {
                    "uploaded": moved.total_payload_upload,
                    "downloaded": moved.total_payload_download,
                }
            )
        )
    # The session ends when its trackers have answered.


if __name__ == "__main__":
    main()
