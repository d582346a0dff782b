"""Codes against RFC 6238's own examples, and whatever people type."""

import base64
from uuid import UUID

import pytest

from services.auth import one_time_codes
from services.auth.one_time_codes import Code
from services.runtime.errors import InvalidFields

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC_CODES = {1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"}
"""RFC 6238, appendix B, for SHA-1; the last six of its eight digits."""

FIRST, SECOND = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(("moment", "digits"), RFC_CODES.items())
@pytest.mark.parametrize(("late", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_good_in_its_step_and_one_to_each_side(moment: int, digits: str, late: int, accepted: bool) -> None:
    step = one_time_codes.step_of(RFC_SECRET, Code(digits, "totp"), moment + 30 * late)
    assert step == (moment // 30 if accepted else None)


TYPED = {
    "123456": ("123456", "totp"),
    " 123 456\n": ("123456", "totp"),
    "12-34-56": ("123456", "totp"),
    "k5ua-x7tq-2m4d-zzyo": ("k5uax7tq2m4dzzyo", "recovery"),
    "K5UA X7TQ 2M4D ZZYO": ("k5uax7tq2m4dzzyo", "recovery"),
}


@pytest.mark.parametrize(("typed", "meant"), TYPED.items())
def test_codes_are_read_as_people_type_them(typed: str, meant: tuple[str, str]) -> None:
    assert one_time_codes.read(typed, "code") == Code(*meant)


NO_CODES = ["", " ", "12345", "1234567", "12345a", "\uff11" * 6, "-123456789", "1e5", "k5ua-x7tq-2m4d-zzy", "0" * 16]
NO_CODES += ["k5ua-x7tq-2m4d-zzyo-k5ua", "1" * 65, "1 " * 1_000_000, "12345\0", "\u0661" * 6]


@pytest.mark.parametrize("typed", NO_CODES, ids=range(len(NO_CODES)))
def test_what_can_be_no_code_is_refused(typed: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        one_time_codes.read(typed, "code")
    assert list(caught.value.violations) == ["code"]


def test_nothing_typed_is_no_code() -> None:
    assert [one_time_codes.read_if_any(typed, "code") for typed in ("", "  ")] == [None, None]


def test_recovery_codes_are_ten_of_80_bits_and_read_back() -> None:
    codes = one_time_codes.new_recovery_codes()
    assert len(set(codes)) == len(codes) == 10
    assert {len(base64.b32decode(code.replace("-", "").upper())) for code in codes} == {10}
    assert {one_time_codes.read(code, "code").kind for code in codes} == {"recovery"}
    assert not set(codes) & set(one_time_codes.new_recovery_codes())


def test_what_is_stored_of_a_recovery_code_is_bound_to_its_user() -> None:
    code = Code("k5uax7tq2m4dzzyo", "recovery")
    assert one_time_codes.recovery_digest(FIRST, code) != one_time_codes.recovery_digest(SECOND, code)


def test_an_app_reads_issuer_and_address_from_the_uri() -> None:
    uri = one_time_codes.uri(RFC_SECRET, "Our Works & Co", "ada+1@example.org")
    assert uri == (
        f"otpauth://totp/Our%20Works%20%26%20Co:ada%2B1%40example.org?secret={RFC_SECRET}&issuer=Our%20Works%20%26%20Co"
    )
