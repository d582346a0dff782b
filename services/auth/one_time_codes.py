"""One-time codes, and what people make of them when typing: an app's (TOTP, RFC 6238), and those for recovery."""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from uuid import UUID

import pyotp

from services.runtime.errors import InvalidFields

RECOVERY_CODES = 10
RECOVERY_BYTES = 10
"""80 random bits, beyond guessing even for whoever has the hashes."""
WINDOW = 1
"""Time steps to each side, for clocks that differ and people who type slowly: RFC 6238, section 5.2, allows no more."""
LONGEST_TYPED = 64
_GAPS = re.compile(r"[\s-]+")
_SHAPE = re.compile(r"(?P<totp>[0-9]{6})|(?P<recovery>[a-z2-7]{16})")


@dataclass(frozen=True, slots=True)
class Code:
    """What can be a code."""

    text: str
    """Without gaps, in lower case."""
    kind: str
    """`totp` or `recovery`."""

    @property
    def is_recovery(self) -> bool:
        """Whether it is one of the ten."""
        return self.kind == "recovery"


def read(typed: str, field: str) -> Code:
    """The code that was typed. Raises InvalidFields for what can be none, without asking anyone."""
    match = _SHAPE.fullmatch(_GAPS.sub("", typed).lower()) if len(typed) <= LONGEST_TYPED else None
    if match is None:
        raise InvalidFields(**{field: "must be six digits, or a recovery code of 16 letters and digits"})
    return Code(match[0], match.lastgroup or "")


def read_if_any(typed: str, field: str) -> Code | None:
    """As `read`; None for nothing."""
    return read(typed, field) if typed and not typed.isspace() else None


def new_secret() -> str:
    """160 random bits in base32, as RFC 4226, section 4, recommends."""
    return pyotp.random_base32(32)


def uri(secret: str, issuer: str, email: str) -> str:
    """What authenticator apps read from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def step_of(secret: str, code: Code, now: float) -> int | None:
    """The time step whose code it is, the newest of those in the window; all are compared, in the same time."""
    totp = pyotp.TOTP(secret)
    current = totp.timecode(now)
    steps = range(current - WINDOW, current + WINDOW + 1)
    same = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code.text)]
    return max(same, default=None)


def new_recovery_codes() -> list[str]:
    """Ten, such as `k5ua-x7tq-2m4d-zzyo`."""
    texts = [base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(re.findall("....", text)) for text in texts]


def recovery_digest(user_id: UUID, code: Code) -> bytes:
    """What is stored of a recovery code."""
    return hashlib.sha256(user_id.bytes + code.text.encode()).digest()
