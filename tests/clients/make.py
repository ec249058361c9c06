"""Makes a torrent as libtorrent does: `make.py FILE TORRENT v2|hybrid`. It names no tracker."""

import os
import sys

import libtorrent as lt


def main():
    path, torrent, version = sys.argv[1:]
    flags = [lt.create_torrent.v2_only] if version == "v2" else []
    made = lt.create_torrent(lt.list_files(path), 0, *flags)
    made.set_priv(True)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as file:
        file.write(lt.bencode(made.generate()))


if __name__ == "__main__":
    main()
