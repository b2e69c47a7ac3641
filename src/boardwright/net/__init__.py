"""The control network and the API as seen by callers: datagrams, and HTTP to servers; the bytes are ``transfer``'s."""
