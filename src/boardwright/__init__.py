"""Boardwright deploys software onto the boards of systems made of chassis."""

# pyproject.toml says the same. Asking the installed metadata would cost every command and every agent 30 ms and the
# mail parser in memory, and a deployed tree that carries the package may have no metadata at all.
__version__ = "0.1.0"
