"""Every RPC says who may call it, and what it says agrees with its documentation."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from services.auth.permissions import OWNER, SERVICES
from services.runtime.caller import Principal, access_rule

PROTOS = Path(__file__).parents[2] / "protos"
FILES = [
    import_module(f"neurectomy.{file.parent.parent.name}.v1.{file.stem}_pb2").DESCRIPTOR
    for file in sorted(PROTOS.glob("neurectomy/*/v1/*.proto"))
]
METHODS = [
    (file.name, f"/{service.full_name}/{method.name}")
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
]


@pytest.mark.parametrize(("file", "method"), METHODS)
def test_the_comment_names_the_rule(file: str, method: str) -> None:
    name = method.rpartition("/")[2]
    comment = re.search(rf"((?:\s*//[^\n]*\n)+)\s*rpc {name}\(", (PROTOS / file).read_text())
    assert comment is not None
    rule = access_rule(method)
    words = re.sub(r"\s*//\s*", " ", comment[1])
    expected = f"Needs `{rule.permission}`" if rule.permission else "Open to anyone" if rule.anyone else "Needs a token"
    assert expected in words


def test_a_method_without_a_rule_is_refused() -> None:
    from grpc_health.v1 import health_pb2  # registers its file

    assert health_pb2.DESCRIPTOR.pool is descriptor_pool.Default()
    with pytest.raises(LookupError):
        access_rule("/grpc.health.v1.Health/Check")


def test_no_role_reaches_what_is_for_services() -> None:
    owner = Principal("someone", "user", None, OWNER, "", 0.0)
    assert not [permission for granted in SERVICES.values() for permission in granted if owner.allows(permission)]
