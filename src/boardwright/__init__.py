"""Boardwright deploys software onto the boards of systems made of chassis."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("boardwright")
except PackageNotFoundError:  # a deployed tree that carries the package without its metadata
    __version__ = "0.1.0"
