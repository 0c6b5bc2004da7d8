import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from ehr_pipeline.evaluate.smallcells import coarse_share, nice_edges, suppressed

counts = st.lists(st.integers(0, 200), min_size=1, max_size=12)


@given(counts)
def test_no_count_under_eleven_is_shown(numbers):
    shown = suppressed(np.array(numbers))
    assert all(count is None or count >= 11 for count in shown)


@given(counts)
@example([40, 3, 0])
@example([50, 3, 4, 20])
def test_no_hidden_patient_follows_from_the_total(numbers):
    shown = suppressed(np.array(numbers))
    together = sum(number for number, count in zip(numbers, shown, strict=True) if count is None)
    assert together == 0 or together >= 11 or set(shown) == {None}


@given(st.integers(0, 500), st.integers(1, 500))
def test_shares_are_in_steps_of_eleven_patients(hits, more):
    n = hits + more
    share = coarse_share(np.arange(n) < hits)
    assert abs(share - hits / n) <= 6 / n
    assert share == 1 or round(share * n) % 11 == 0


def test_edges_are_round_inside_the_public_range_and_never_the_extremes():
    values = np.random.default_rng(0).normal(57.31, 15.17, 5000).clip(18.37, 94.21)
    edges = nice_edges(values, 18, 95, is_whole=False)
    assert all(edge == round(edge) for edge in edges)
    assert edges == sorted(set(edges))
    assert not {values.min(), values.max()} & set(edges)
    assert 18 <= edges[0] < edges[-1] <= 95


def test_few_values_have_edges_that_come_from_the_public_range_alone():
    assert nice_edges(np.array([41.7]), 18, 95, is_whole=False)[0] == 18
    assert nice_edges(np.array([41.7]), 18, 95, is_whole=False) == nice_edges(
        np.array([np.nan]), 18, 95, is_whole=False
    )
