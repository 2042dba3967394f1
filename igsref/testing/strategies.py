"""Hypothesis strategies for networks and for cases of a transformation; Hypothesis is needed."""

from collections.abc import Iterable

from hypothesis import strategies as st

from igsref.testing.laws import Case, chosen_families, find_transformation
from igsref.testing.networks import FAMILIES, Network, draw_network, find_family

_SEEDS = st.integers(0, 2**31 - 1)


def networks(families: Iterable[str] = tuple(FAMILIES)) -> st.SearchStrategy[Network]:
    """A network of one of the families, with data. Raises ValueError for an unknown family."""
    among = tuple(families)
    for family in among:
        find_family(family)
    return st.builds(draw_network, st.sampled_from(among), _SEEDS)


def cases(transformation: str, families: Iterable[str] | None = None) -> st.SearchStrategy[Case]:
    """A network and a transformation of it; shrinks towards small strengths.

    families: some of those that the transformation can act on (all unless given).
    Raises ValueError for an unknown transformation or a family that it cannot act on.
    """
    chosen = find_transformation(transformation)
    among = chosen_families(chosen, families)
    return st.builds(
        Case,
        st.sampled_from(among),
        _SEEDS,
        st.just(transformation),
        _SEEDS,
        st.floats(0.0, chosen.strongest),
    )
