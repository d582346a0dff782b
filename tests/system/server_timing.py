"""What a gateway itself says of one request: the header `Server-Timing`, which a client gets that asks for it."""

from collections.abc import Mapping

ASK = {"Server-Timing": "1"}
"""The header that asks for it."""
MICROSECOND = 1_000


def latency_and_shares(headers: Mapping[bytes, bytes]) -> tuple[int, dict[str, int]]:
    """A request's latency in nanoseconds, and its shares by label. Both are rounded to microseconds, each by itself."""
    entries = [entry.partition(";dur=") for entry in headers[b"server-timing"].decode().split(", ")]
    times = {name: round(float(milliseconds) * MICROSECOND) * MICROSECOND for name, _, milliseconds in entries}
    latency = times.pop("total")
    return latency, {_label(name): time for name, time in times.items()}


def _label(name: str) -> str:
    """`auth/pool wait` of `auth-pool-wait`."""
    service, slash, part = name.partition("-")
    return service + slash.replace("-", "/") + part.replace("-", " ")
