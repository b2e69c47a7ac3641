"""Moving versions: blob stores, ranges over HTTP, the fetch with failover, packing and building trees.

Blocking calls and threads; nothing here knows the protocol, the configuration or asyncio, but `listen`, which
puts an application onto a port of the running loop.
"""
