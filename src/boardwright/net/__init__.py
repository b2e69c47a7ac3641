"""The control network and the API as seen by callers: datagrams, and HTTP to servers. Bytes of versions are ``transfer``'s."""
