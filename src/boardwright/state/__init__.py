"""Replicated state behind one small interface; see ``kv`` for the rules."""
