"""Installers: how a version gets into its place on a board, behind one interface of a few methods."""
