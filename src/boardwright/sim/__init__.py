"""A whole cluster in one process: virtual time, a lossy network, and the real pure code on top of them.

Simulated are time, the network and the work (downloads, hooks, health checks); the codec, requester, offerer, choice
and the agent's driver, machine, ledger, order and resumption are the real ones. A run is repeated exactly by its seed.
"""
