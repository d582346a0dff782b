"""Ports: said plainly when taken or misspelt."""

import socket

import pytest

from deploy.local import ports
from deploy.local.failure import StackError


def test_a_taken_port_is_named_with_what_changes_it() -> None:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=rf"Port {port}, which gateway needs, .*--port gateway=NUMBER"):
            ports.require_free("gateway", port)
    ports.require_free("gateway", port)


def test_free_ports_differ_and_fixed_ones_stay() -> None:
    settled = ports.settle({**ports.FREE_PORTS, "gateway": 4000})
    assert settled["gateway"] == 4000
    assert len(set(settled.values())) == len(settled)
    assert 0 not in settled.values()


@pytest.mark.parametrize("word", ["gateway", "gateway=", "gateway=x", "gateway=65536", "gatway=4000", "=1"])
def test_a_misspelt_port_is_refused(word: str) -> None:
    with pytest.raises(StackError, match="gateway"):
        ports.parse(["auth=50051", word])


def test_ports_are_read() -> None:
    assert ports.parse(["auth=0", "gateway=4001"]) == {"auth": 0, "gateway": 4001}
