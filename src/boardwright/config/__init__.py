"""Configuration: fragments (TOML and drop-ins) are read once, checked, frozen and passed in."""
