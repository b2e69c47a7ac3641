"""A second agent, written from docs/protocol.md alone: nothing of Boardwright's own code is imported here."""

import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec.msgpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import (
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
    load_pem_x509_certificate,
)

DATAGRAM = 1200
RANGE = 8 * 1024 * 1024
PIECE = 1024 * 1024


class Client:
    """The board whose folder (`init`) is given, at `location`, that asks on `interface`, its address.

    `control` is the multicast group.
    """

    def __init__(self, cluster: str, folder: Path, location: tuple[str, str], interface: str, control: tuple[str, int]):
        board = folder.name
        key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self.key = key
        self.certificate = load_pem_x509_certificate((folder / "certificate.pem").read_bytes()).public_bytes(
            Encoding.DER
        )
        self.tokens: dict[str, str] = {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.check_hostname = False
        self.tls.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME
        self.tls.load_verify_locations(folder / "trust" / "authority.pem")
        self.authority = x509.load_pem_x509_certificate((folder / "trust" / "authority.pem").read_bytes())
        self.cluster, self.board, self.location, self.control = cluster, board, location, control
        self.sequence = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((interface, 0))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))

    def close(self) -> None:
        self.socket.close()

    def ask(self, group: str, want: bytes | None = None) -> list[dict[str, Any]]:
        """Multicast a version request with back-off until 50 ms after the first offer; at most 10 s."""
        nonce = os.urandom(16)
        datagram = self.request(nonce, {"g": group} | ({"w": want} if want else {}))
        offers: dict[str, dict[str, Any]] = {}
        end, pause = time.monotonic() + 10, 0.08
        while time.monotonic() < end:
            self.socket.sendto(datagram, self.control)
            until = time.monotonic() + pause
            while (left := min(until, end) - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    major, kind, body, certificate, signature = msgspec.msgpack.decode(self.socket.recv(2048))[:5]
                except TimeoutError:
                    break
                offer = msgspec.msgpack.decode(body)
                if (major, kind, offer["c"], offer["n"]) == (1, 2, self.cluster, nonce):
                    offer |= self.sender(certificate, signature, b"boardwright message\0" + bytes((1, 2)) + body)
                    if not offers:
                        end = time.monotonic() + 0.05
                    offers[offer["s"]] = offer
            pause = min(pause * 2, 2.0)
        return list(offers.values())

    def sender(self, certificate: bytes, signature: bytes, signed: bytes) -> dict[str, Any]:
        """Id and place of whoever signed, out of his certificate, which the authority must have signed."""
        own = x509.load_der_x509_certificate(certificate)
        own.verify_directly_issued_by(self.authority)
        key = own.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        name = urlsplit(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
        said = dict(parse_qsl(name.query))
        assert (name.netloc, said["role"]) == (self.cluster, "server")
        return {"s": name.path.lstrip("/"), "ch": said["chassis"], "sl": said["slot"]}

    def request(self, nonce: bytes, query: dict[str, Any]) -> bytes:
        """A request of exactly 1,200 bytes: msgpack's 16-bit form of bin for body and padding."""
        chassis, slot = self.location
        body = {"c": self.cluster, "n": nonce, "b": self.board, "ch": chassis, "sl": slot, "t": "lc", "q": [query]}
        head = msgspec.msgpack.encode(body)
        head = bytes([head[0] + 1]) + head[1:] + msgspec.msgpack.encode("p")  # one more entry in a map of up to 15
        # Around it: array head, major, kind, the body's head of 3 bytes, two empty bins of 2 bytes.
        padding = DATAGRAM - (1 + 1 + 1 + 3 + 2 + 2) - len(head) - 3
        whole = head + b"\xc5" + struct.pack(">H", padding) + bytes(padding)
        return b"\x95\x01\x01\xc5" + struct.pack(">H", len(whole)) + whole + b"\xc4\x00" * 2

    def plan(self, offers: list[dict[str, Any]]) -> dict[str, Any]:
        """Metadata from the newest."""
        newest = max(offers, key=lambda offer: int(offer.get("ge", 0)))
        plan: dict[str, Any] = json.loads(self.get(f"{newest['a']}/v1/plan/boards/{self.board}"))
        assert plan["generation"] >= newest.get("ge", 0)
        return plan

    def ranked(self, offers: list[dict[str, Any]], manifest: bytes) -> list[dict[str, Any]]:
        """Bytes from the nearest: the offers that hold all of `manifest`, best first."""

        def key(offer: dict[str, Any]) -> tuple[Any, ...]:
            same_chassis = offer["ch"] == self.location[0]
            tier = 0 if same_chassis and offer["sl"] == self.location[1] else 1 if same_chassis else 2
            name = f"{len(self.board)}:{self.board}{offer['s']}".encode()
            load = offer.get("l", 0)
            spread = hashlib.blake2b(name, digest_size=8).digest()
            return load >= 1000, tier, load, offer.get("r", False), spread

        holding = [
            offer
            for offer in offers
            if any(entry["m"] == manifest and entry.get("h", 0) == 0 for entry in offer.get("o", []))
        ]
        return sorted(holding, key=key)

    def blob(self, sources: list[dict[str, Any]], sha256: str, size: int, pieces: bytes) -> bytes:
        """A blob in ranges along pieces, each piece verified; ranges may be answered shorter than asked."""
        got = bytearray()
        while len(got) < size:
            last = min(len(got) + RANGE, size) - 1
            headers = {"Range": f"bytes={len(got)}-{last}"}
            got += self.get(f"{sources[0]['u']}/v1/blobs/{sha256}", headers)
        for index in range(0, len(pieces), 32):
            piece = got[index // 32 * PIECE : (index // 32 + 1) * PIECE]
            assert hashlib.sha256(piece).digest() == pieces[index : index + 32]
        assert hashlib.sha256(got).hexdigest() == sha256
        return bytes(got)

    def install(self, group: str, root: Path) -> dict[str, Any]:
        """The whole way from request to files in `root`; the target that was planned."""
        offers = self.ask(group)
        plan = self.plan(offers)
        target: dict[str, Any] = plan["groups"][group]
        digest = bytes.fromhex(target["manifest"])
        sources = self.ranked(offers, digest) or self.ranked(self.ask(group, want=digest), digest)
        data = self.get(f"{sources[0]['u']}/v1/blobs/{target['manifest']}")
        assert hashlib.sha256(data).digest() == digest
        manifest = json.loads(data)
        assert manifest["schema"] == 1
        blobs = [
            self.blob(sources, blob["sha256"], blob["size"], base64.b64decode(blob["pieces"]))
            for blob in manifest.get("blobs", [])
        ]
        for directory in manifest.get("directories", []):
            (root / directory["path"]).mkdir(parents=True, exist_ok=True)
        for entry in manifest["files"]:
            path = root / entry["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if "link" in entry:
                path.symlink_to(entry["link"])
                continue
            start = entry.get("offset", 0)
            content = blobs[entry["blob"]][start : start + entry["size"]] if entry.get("blob", -1) >= 0 else b""
            if "sha256" in entry:
                assert hashlib.sha256(content).hexdigest() == entry["sha256"]
            path.write_bytes(content)
            path.chmod(entry["mode"])
        self.report(sources[0], plan["generation"], target)
        return target

    def report(self, source: dict[str, Any], generation: int, target: dict[str, Any]) -> dict[str, Any]:
        """Tell the server that the version runs; what it answers."""
        self.sequence += 1
        chassis, slot = self.location
        group = {"version": target["version"], "wanted": target["version"], "state": "confirmed"}
        board = {"id": self.board, "location": {"chassis": chassis, "slot": slot}, "type": "lc"}
        body = [
            {
                "board": {**board, "groups": [target["group"]]},
                "generation": generation,
                "sequence": self.sequence,
                "groups": {target["group"]: group},
            }
        ]
        headers = {"Content-Type": "application/json"}
        answered: dict[str, Any] = json.loads(self.get(f"{source['a']}/v1/reports", headers, json.dumps(body).encode()))
        return answered

    def get(self, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
        """GET, or POST with a body."""
        base = "/".join(url.split("/")[:3])
        if base not in self.tokens:
            self.tokens[base] = self.prove(base)
        return self.send(url, {"Authorization": f"Bearer {self.tokens[base]}", **(headers or {})}, body)

    def prove(self, base: str) -> str:
        """A session at the server whose certificate is at the other end."""
        host, port = base.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as line, self.tls.wrap_socket(line) as secured:
            shown = load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
        (name,) = shown.extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(
            UniformResourceIdentifier
        )
        parts = urllib.parse.urlsplit(name)
        assert "role=server" in parts.query
        server = parts.path.removeprefix("/").encode()
        nonce = base64.b64decode(json.loads(self.send(f"{base}/v1/session/nonce", {}))["nonce"])
        statement = b"boardwright session\0" + len(server).to_bytes(2, "big") + server + nonce
        signature = self.key.sign(statement, ECDSA(SHA256()))
        texts = [base64.b64encode(data).decode() for data in (self.certificate, nonce, signature)]
        proof = {"chain": [texts[0]], "nonce": texts[1], "signature": texts[2]}
        headers = {"Content-Type": "application/json"}
        token: str = json.loads(self.send(f"{base}/v1/session", headers, json.dumps(proof).encode()))["token"]
        return token

    def send(self, url: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=10, context=self.tls) as answer:
            data: bytes = answer.read()
            return data
