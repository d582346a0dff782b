"""Vectors: what is acceptable, and how PostgreSQL's `vector` type is written in binary."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_DIMENSION = 4_000
MAX_INDEXED_DIMENSION = 2_000
"""pgvector indexes longer vectors in half precision only."""
MAX_HALF = 65_504.0
MAX_SQUARE, MIN_SQUARE = 1e36, 1e-30
"""Bounds of the squared length: beyond them, distances in single precision are infinite or not a number."""

Matrix = npt.NDArray[np.float32]
"""One vector to a row."""


def unacceptable(vectors: Matrix, needs_direction: bool) -> tuple[int, str] | None:
    """The first row that cannot be compared with others, and why; None where all can."""
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    if (row := _first(~(squares <= MAX_SQUARE))) is not None:
        return row, "must have finite numbers, and not too large ones"
    if needs_direction and (row := _first(squares < MIN_SQUARE)) is not None:
        return row, "must not be zero, which has no direction"
    if vectors.shape[1] > MAX_INDEXED_DIMENSION and (row := _first(abs(vectors).max(axis=1) > MAX_HALF)) is not None:
        return row, f"must have numbers up to {MAX_HALF:,.0f} where there are more than {MAX_INDEXED_DIMENSION:,}"
    return None


def _first(rows: npt.NDArray[np.bool_]) -> int | None:
    return int(rows.argmax()) if rows.any() else None


def to_binary(vectors: Matrix) -> Sequence[bytes]:
    """Each row as pgvector receives it: two 16-bit numbers, its length and zero, then big-endian floats."""
    header = vectors.shape[1].to_bytes(2) + b"\0\0"
    return [header + row.tobytes() for row in vectors.astype(">f4")]
