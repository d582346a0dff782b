"""Which vectors are acceptable, and how they are sent."""

import numpy as np
import pytest
from pgvector import Vector

from services.vector_search.vectors import to_binary, unacceptable

NAN, INFINITY = float("nan"), float("inf")
ROWS = {
    "ordinary": ([1, 2, 3], True, None),
    "negative": ([-1, -2, -3], True, None),
    "zero, where only directions count": ([0, 0, 0], True, "direction"),
    "next to zero, where only directions count": ([1e-30, 0, 0], True, "direction"),
    "zero, elsewhere": ([0, 0, 0], False, None),
    "not a number": ([1, NAN, 3], False, "finite"),
    "infinite": ([1, INFINITY, 3], False, "finite"),
    "infinite when squared": ([1e30, 0, 0], False, "finite"),
    "too large for half precision": ([70_000.0, *[1.0] * 2_000], False, "65,504"),
    "not too large for half precision": ([65_000.0, *[1.0] * 2_000], False, None),
}


@pytest.mark.parametrize(("row", "needs_direction", "why"), ROWS.values(), ids=ROWS)
def test_unacceptable(row: list[float], needs_direction: bool, why: str | None) -> None:
    good = np.ones(len(row))
    found = unacceptable(np.array([good, row, good], dtype=np.float32), needs_direction)
    if why is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == 1
        assert why in found[1]


def test_binary_form_is_that_of_pgvectors_own_client() -> None:
    rows = np.random.default_rng(1).normal(size=(3, 17)).astype(np.float32)
    assert to_binary(rows) == [Vector(row).to_binary() for row in rows]
