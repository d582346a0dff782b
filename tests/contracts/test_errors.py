"""The reasons of the protos and the error classes are one list, with one gRPC code for each."""

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from neurectomy.errors.v1 import errors_pb2
from services.runtime import errors

PROTO = Path(__file__).parents[2] / "protos/neurectomy/errors/v1/errors.proto"
CODE_OF = {
    reason: code
    for code, reason in re.findall(r"// \[([A-Z_]+)\].*?\n(?:\s*//.*\n)*\s*REASON_(\w+) =", PROTO.read_text())
}


def _leaves(kind: type[errors.DomainError]) -> list[type[errors.DomainError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in _leaves(child)]
    return below or [kind]


CLASSES = {kind.reason: kind for kind in _leaves(errors.DomainError) if kind.__module__ == errors.__name__}


def test_every_reason_has_a_class_and_every_class_a_reason() -> None:
    reasons = {name.removeprefix("REASON_") for name in errors_pb2.Reason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert set(CLASSES) == reasons == set(CODE_OF)


@pytest.mark.parametrize("reason", sorted(CLASSES))
def test_the_code_is_the_one_that_the_proto_states(reason: str) -> None:
    assert CLASSES[reason].code.name == CODE_OF[reason]


def test_details_carry_reason_metadata_and_fields() -> None:
    status = status_pb2.Status.FromString(errors.status_details(errors.InvalidFields(name="is too long")))
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert (status.code, info.reason, info.domain) == (3, "INVALID_FIELDS", "neurectomy")
    assert [(field.field, field.description) for field in request.field_violations] == [("name", "is too long")]


def test_an_unexpected_code_of_a_peer_is_internal_here() -> None:
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata())
    assert isinstance(errors.from_rpc(error, "auth"), errors.Internal)
