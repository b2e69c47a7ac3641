"""The deployment server: answers requests with offers, sends files, copies versions, and, as the active, plans.

``server.py`` says what it is made of; every other module holds one duty. What must be known to answer and to serve
lies on the server's own disk (``mirror``, ``holdings``), so that serving never depends on the state engine.
"""
