"""operator.toml: what the commands of an operator need to find a cluster."""

import re
from pathlib import Path

import msgspec

from boardwright.config.fragments import Document, read_document
from boardwright.config.readers import API_PORT, name
from boardwright.config.section import Section, texts
from boardwright.errors import UsageError, shown

FILE = "operator.toml"
_URL = re.compile(r"https://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(:\d{1,5})?", re.ASCII)
MAX_SERVERS = 1000  # they are asked in turn


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`servers` are base URLs of the API without a slash at the end, tried in turn until one answers."""

    cluster: str
    servers: tuple[str, ...]


def server_url(word: str) -> str:
    """The base URL of the server's API at an address, an address and a port, or a URL; raises UsageError."""
    if "://" not in word:
        if word.count(":") > 1 and not word.startswith("["):  # a bare IPv6 address
            word = f"[{word}]"
        has_port = not word.endswith("]") if word.startswith("[") else ":" in word
        word = f"https://{word}" if has_port else f"https://{word}:{API_PORT}"
    return _urls([word])[0]


def load_operator(directory: Path) -> OperatorSettings:
    """Read DIRECTORY/operator.toml; raises UsageError with file, key and value."""
    document: Document = read_document(directory / FILE)
    section = Section(document, (), document.tables, "")
    settings = OperatorSettings(
        cluster=section.need("cluster", name("cluster")), servers=section.need("servers", _urls)
    )
    section.finish()
    return settings


def _urls(value: object) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in texts(value))
    for url in urls:
        match = _URL.fullmatch(url)
        if match is None or not 0 < int((match[2] or ":443")[1:]) <= 65535:
            raise UsageError(f"{shown(url)} is not the URL of a server", hint='write e.g. "https://10.0.1.1:6688"')
    if len(urls) > MAX_SERVERS:
        raise UsageError(f"{len(urls)} servers are more than {MAX_SERVERS}", hint="name those that are asked first")
    if not urls:
        raise UsageError("[] names no server", hint='write e.g. ["https://10.0.1.1:6688"]')
    return urls
