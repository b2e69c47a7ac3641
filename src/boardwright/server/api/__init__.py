"""The HTTP API of a server, one file per topic; bodies are those of ``model/api.py``."""
