"""Hypothesis strategies for networks and for cases of a transformation; Hypothesis is needed."""

from collections.abc import Iterable

from hypothesis import strategies as st

from igsref.testing.laws import Case, find_transformation
from igsref.testing.networks import FAMILIES, Network, draw_network

_SEEDS = st.integers(0, 2**31 - 1)


def networks(families: Iterable[str] = tuple(FAMILIES)) -> st.SearchStrategy[Network]:
    """A network of one of the families, with data."""
    return st.builds(draw_network, st.sampled_from(tuple(families)), _SEEDS)


def cases(transformation: str, families: Iterable[str] | None = None) -> st.SearchStrategy[Case]:
    """A network and a transformation of it; shrinks towards small strengths.

    Raises ValueError for an unknown transformation.
    """
    chosen = find_transformation(transformation)
    among = chosen.families if families is None else tuple(families)
    return st.builds(
        Case,
        st.sampled_from(among),
        _SEEDS,
        st.just(transformation),
        _SEEDS,
        st.floats(0.0, chosen.strongest),
    )
