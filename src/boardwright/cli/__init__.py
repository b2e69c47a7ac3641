"""The commands: they parse, call and print; what is done stands in the rooms below. One file per command group."""
