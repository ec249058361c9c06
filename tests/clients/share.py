"""A libtorrent client: `share.py ADDRESS [FILE] TORRENT`.

It shares the torrent's files in the folder `files`, or this FILE alone, at an address of its own, until it
is killed. What trackers say is printed.
"""

import sys

import libtorrent as lt


def main():
    address, *only, torrent = sys.argv[1:]
    session = lt.session(
        {
            "listen_interfaces": f"{address}:0",
            "outgoing_interfaces": address,
            "alert_mask": lt.alert.category_t.tracker_notification
            | lt.alert.category_t.error_notification,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
        }
    )
    share = lt.add_torrent_params()
    share.ti = lt.torrent_info(torrent)
    share.save_path = "files"
    if only:
        files = share.ti.layout()
        wanted = (files.file_path(at) in only for at in range(files.num_files()))
        share.file_priorities = [4 if want else 0 for want in wanted]
    share.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    session.add_torrent(share)
    while True:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            print(alert.message(), flush=True)


if __name__ == "__main__":
    main()
