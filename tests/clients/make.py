"""Makes a torrent as libtorrent does: `make.py FILE TORRENT v1|v2|hybrid`. It names no tracker.

Prints its info-hashes: that of version 1 first.
"""

import os
import sys

import libtorrent as lt


def main():
    path, torrent, version = sys.argv[1:]
    flags = {"v1": [lt.create_torrent.v1_only], "v2": [lt.create_torrent.v2_only], "hybrid": []}
    made = lt.create_torrent(lt.list_files(path), 0, *flags[version])
    made.set_priv(True)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as file:
        file.write(lt.bencode(made.generate()))
    hashes = lt.torrent_info(torrent).info_hashes()
    print(*[hashes.v1] * hashes.has_v1(), *[hashes.v2] * hashes.has_v2())


if __name__ == "__main__":
    main()
