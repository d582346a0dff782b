"""A listening socket, had or refused before anything else is begun."""

import socket


def bind(listen: str, whose: str) -> socket.socket:
    """A socket on host:port. Ends the process with one clear line where that cannot be had."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        raise SystemExit(f"{whose} cannot listen on {listen}: {error.strerror}.") from None
    return listener
