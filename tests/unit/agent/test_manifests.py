"""Manifests of versions on their way: the disk is believed only as far as the digest goes."""

import threading
from pathlib import Path
from typing import cast

import pytest

from boardwright.agent.downloads import Download
from boardwright.agent.manifests import Manifests
from boardwright.errors import FailedError, MalformedError, UnreachableError
from boardwright.model.software import Manifest, Target, digest_of, encode_manifest
from boardwright.net.agent_client import AgentClient

DATA = encode_manifest(Manifest(1, "platform", "1", ("*",)))
DIGEST = digest_of(DATA)
TARGET = Target("platform", "1", "*", DIGEST)


class Servers:
    """Answers by URL: bytes, or an error."""

    def __init__(self, **answers: bytes | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def manifest(self, url: str, digest: str) -> bytes:
        self.asked.append(url)
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Asked:
    """A download that notes what it is told."""

    def __init__(self, *urls: str) -> None:
        self.target = TARGET
        self.urls = urls
        self.stop = threading.Event()
        self.told: list[str] = []

    def silent(self, url: str, reason: str) -> None:
        self.told.append(f"{url} is silent")

    def wrong_manifest(self, url: str) -> None:
        self.told.append(f"{url} lies")


def manifests(folder: Path, servers: Servers) -> Manifests:
    return Manifests(folder / "manifests", cast(AgentClient, servers))


def bring(shelf: Manifests, asked: Asked) -> bytes:
    return shelf.bring(cast(Download, asked))[0]


def test_a_manifest_is_brought_once_and_then_read_from_the_disk(tmp_path: Path) -> None:
    servers = Servers(near=DATA)
    shelf = manifests(tmp_path, servers)
    assert bring(shelf, Asked("near")) == bring(shelf, Asked("near")) == DATA
    assert servers.asked == ["near"]


@pytest.mark.parametrize("altered", [b"", bytes(len(DATA)), DATA[:-1], DATA.replace(b'"1"', b'"2"')])
def test_one_that_was_altered_on_the_disk_is_brought_again(tmp_path: Path, altered: bytes) -> None:
    servers = Servers(near=DATA)
    shelf = manifests(tmp_path, servers)
    bring(shelf, Asked("near"))
    (tmp_path / "manifests" / DIGEST).write_bytes(altered)
    assert shelf.read(DIGEST) is None
    assert bring(shelf, Asked("near")) == DATA
    assert servers.asked == ["near", "near"]
    assert shelf.read(DIGEST) is not None


def test_the_next_server_is_asked_and_whoever_failed_is_told_of(tmp_path: Path) -> None:
    asked = Asked("dead", "liar", "good")
    servers = Servers(dead=UnreachableError("no answer"), liar=MalformedError("other bytes"), good=DATA)
    assert bring(manifests(tmp_path, servers), asked) == DATA
    assert asked.told == ["dead is silent", "liar lies"]


def test_nobody_is_one_sentence_with_every_reason(tmp_path: Path) -> None:
    servers = Servers(dead=UnreachableError("no answer"), poor=FailedError("has no such blob"))
    with pytest.raises(FailedError, match="nobody sent the manifest of 1: no answer; has no such blob"):
        bring(manifests(tmp_path, servers), Asked("dead", "poor"))


def test_what_is_not_needed_goes(tmp_path: Path) -> None:
    shelf = manifests(tmp_path, Servers(near=DATA))
    bring(shelf, Asked("near"))
    shelf.keep_only({DIGEST})
    assert shelf.read(DIGEST) is not None
    shelf.keep_only(())
    assert shelf.read(DIGEST) is None
