"""Heads of audit chains in a file, to be kept where whoever can write to the database cannot."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from deploy.local.failure import StackError
from deploy.local.state import write_private
from neurectomy.auth.v1.audit_pb2 import AuditHead


def save(file: Path, heads: Iterable[AuditHead]) -> None:
    """Write them, in place of what was there. Raises StackError."""
    content = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "heads": [MessageToDict(head) for head in heads],
    }
    try:
        write_private(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise StackError(f"{file} cannot be written: {error.strerror}.") from error


def read(file: Path) -> list[AuditHead]:
    """What was saved. Raises StackError."""
    try:
        return [ParseDict(head, AuditHead()) for head in json.loads(file.read_bytes())["heads"]]
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, ParseError) as error:
        raise StackError(f"{file} holds no heads of the audit log: {error}") from error
