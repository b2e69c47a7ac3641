"""What Boardwright talks about: frozen msgspec structs and pure functions over them.

Everything here is immutable, free of I/O and of third parties but msgspec. One struct serves the wire, the
disk and the API alike. The words are those of ``docs/glossary.md``.
"""
