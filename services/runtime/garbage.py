"""Python's collector of reference cycles, kept from looking again and again through what start-up made."""

import gc

THRESHOLD = 20_000
"""New objects between two collections; Python's default is 700."""


def spare_the_collector() -> None:
    """What start-up made stays; looking through it took 5 % of the time under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)
