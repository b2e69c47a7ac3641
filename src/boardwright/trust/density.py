"""How many values JSON may hold before it is parsed.

The length alone bounds little: 5 MB of empty lists are 135 MB in memory, more than a board's agent may take, and
metadata is parsed before its signature can be looked at.
"""

# 15,000 versions of one group, the most that 5 MB of signed metadata name, have 90,000; so many take 30 MB at most.
MAX_VALUES = 200_000


def values_of(data: bytes) -> int:
    """At least as many values as the JSON in `data` has; those in texts count, too. A millisecond for a megabyte."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")
