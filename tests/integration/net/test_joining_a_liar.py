"""A joiner on real TLS meets somebody who tells the truth about the cluster, which is public, and is none of it."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.model.admission import ClusterAuthority, JoinAnswer
from boardwright.model.software import digest_of
from boardwright.trust.identity import identity_of, read_certificate
from boardwright.trust.joining import JoinToken, write_token
from tests.identities import Identities
from tests.tls import LAB, over_tls

SECRET = b"the secret of this very token 32"
WORD = write_token(
    JoinToken("lab", identity_of(read_certificate(LAB.issuer.certificate)).identity.key, digest_of(LAB.root), SECRET)
)


TRUTH = ClusterAuthority("lab", LAB.issuer.certificate, LAB.root, LAB.targets)


@contextmanager
def liar(context: ssl.SSLContext, says: ClusterAuthority = TRUTH) -> Iterator[tuple[str, list[bytes]]]:
    """Says what everybody may know of the cluster, or something else, and keeps what is sent to it."""
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers}".encode())
            self._answer(msgspec.json.encode(says))

        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(msgspec.json.encode(JoinAnswer((), "wait")))

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None: ...

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass  # the joiner left in the middle of the handshake

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = over_tls(server, context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield base, heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def join(base: str, folder: Path) -> int:
    (folder / "agent.toml").write_text(
        '[cluster]\nname = "lab"\ninterface = "lo"\n'
        '[board]\nid = "c1s9"\nchassis = "1"\nslot = "9"\ntype = "lc"\ngroups = []\n'
    )
    return run(
        ["join", base, "--token", WORD, "--config", str(folder / "agent.toml"), "--wait", "0"],
        Session(folder / "nowhere"),
    )


@pytest.mark.parametrize("who", ["a stranger with an authority of the same name", "a line board of the cluster"])
def test_it_hears_no_secret(who: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    context = Identities("lab").server_side() if "stranger" in who else LAB.server_side(LAB.board("c1s3", slot="3"))
    with liar(context) as (base, heard):
        assert join(base, tmp_path) == 3
    assert "no server proved that it is one of this cluster" in capfd.readouterr().err
    assert len(heard) == 1
    assert heard[0].startswith(b"/v1/authority")
    assert not (tmp_path / "certificate.pem").exists()


STRANGER = Identities("lab")


@pytest.mark.parametrize(
    "says",
    [
        msgspec.structs.replace(TRUTH, certificate=STRANGER.issuer.certificate),
        msgspec.structs.replace(TRUTH, root=STRANGER.root),
    ],
    ids=["the authority's key", "the first root"],
)
def test_who_names_another_than_the_token_hears_no_secret(
    says: ClusterAuthority, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All else that it says is right, and TLS would bear it out."""
    whose = STRANGER if says.certificate != TRUTH.certificate else LAB
    with liar(whose.server_side(), says) as (base, heard):
        assert join(base, tmp_path) == 3
    assert "is not of the cluster lab of the token" in capfd.readouterr().err
    assert len(heard) == 1
    assert not (tmp_path / "certificate.pem").exists()


def test_a_server_of_the_cluster_hears_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The test above would see it, if it were said."""
    with liar(LAB.server_side()) as (base, heard):
        assert join(base, tmp_path) == 1
    assert msgspec.json.decode(heard[1])["id"] == "c1s9"
    assert "Warning" not in capfd.readouterr().err
