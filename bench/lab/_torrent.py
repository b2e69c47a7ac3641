"""One libtorrent in a process of its own: a seed or a board. Says "ready", hears a line, says "done".

``_torrent.py make FILE TORRENT PIECE`` writes a torrent; ``_torrent.py seed|board TORRENT FOLDER ADDRESS PORT PEERS``.
Its choices are made for a fast network of few: no limits, TCP alone, everybody served at once, peers told by hand.
"""

import sys
import time
from pathlib import Path

import libtorrent

LOOK = 0.005  # seconds
SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True,
    "choking_algorithm": libtorrent.choking_algorithm_t.fixed_slots_choker,
    "unchoke_slots_limit": 100,
    "connection_speed": 1000,
    "torrent_connect_boost": 255,
    "connections_limit": 1000,
    "min_reconnect_time": 1,
    "rate_limit_ip_overhead": False,
    "in_enc_policy": libtorrent.enc_policy.disabled,
    "out_enc_policy": libtorrent.enc_policy.disabled,
    "max_out_request_queue": 1500,
    "alert_mask": 0,
}


def make(file: Path, torrent: Path, piece: int) -> None:
    made = libtorrent.create_torrent(libtorrent.list_files(str(file)), piece, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(made, str(file.parent))
    torrent.write_bytes(libtorrent.bencode(made.generate()))


def take_part(role: str, torrent: Path, folder: Path, address: str, port: int, peers: list[str]) -> None:
    session = libtorrent.session({**SETTINGS, "listen_interfaces": f"{address}:{port}"})
    wanted = libtorrent.add_torrent_params()
    wanted.ti = libtorrent.torrent_info(str(torrent))
    wanted.save_path = str(folder)
    wanted.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    if role == "seed":
        wanted.flags |= libtorrent.torrent_flags.seed_mode
        handle = session.add_torrent(wanted)
        say("ready")
        sys.stdin.read()
        return
    say("ready")
    sys.stdin.readline()
    handle = session.add_torrent(wanted)
    for peer in peers:
        if peer != address:
            handle.connect_peer((peer, port))
    while not handle.status().is_seeding:
        time.sleep(LOOK)
    say("done")
    sys.stdin.read()


def say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    if first == "make":
        make(Path(rest[0]), Path(rest[1]), int(rest[2]))
    else:
        take_part(first, Path(rest[0]), Path(rest[1]), rest[2], int(rest[3]), rest[4].split(","))
