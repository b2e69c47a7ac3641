"""Servers over TLS that a test makes of sockets and of http.server, in a cluster that the whole test run shares."""

import socket
import ssl
from http.server import HTTPServer

from tests.identities import Identities

LAB = Identities("lab")
SERVER_SIDE = LAB.server_side()


def over_tls(server: HTTPServer, context: ssl.SSLContext = SERVER_SIDE) -> str:
    """Let an HTTP server speak TLS; its base URL. Whoever comes is greeted in the thread that answers him."""
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return f"https://127.0.0.1:{server.server_port}"


def accepted(line: socket.socket, context: ssl.SSLContext = SERVER_SIDE) -> ssl.SSLSocket:
    """The server's side of an accepted connection, after the handshake; OSError if that fails."""
    try:
        return context.wrap_socket(line, server_side=True)
    except BaseException:
        line.close()
        raise
