"""The first thing both programs run: which release of Boardwright is theirs (``stage``). Standard library only."""
