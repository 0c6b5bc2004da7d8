"""Bounded contributions: no patient moves the sums by more than they may, and one patient's items are not named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.privacy.bounded import SCALE, found, noisy_sums, reached, shares, stands_out, threshold
from ehr_pipeline.privacy.lower_bounds import epsilon_lower_bound

N_CELLS = 12
records = st.lists(st.tuples(st.integers(0, 3), st.integers(0, N_CELLS - 1)), min_size=1, max_size=200)


def sums(patient: np.ndarray, cell: np.ndarray, group: np.ndarray) -> np.ndarray:
    _, where, share = shares(patient, cell, group, N_CELLS)
    return np.bincount(where, weights=share, minlength=N_CELLS)


@given(records, st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_patient_left_out_moves_the_sums_by_one_at_most(rows, n_groups):
    patient, cell = np.array(rows).T
    group = cell % n_groups
    whole = sums(patient, cell, group)
    for one in np.unique(patient):
        others = patient != one
        moved = whole - sums(patient[others], cell[others], group[others])
        assert (moved >= 0).all()
        assert np.sqrt((moved**2).sum()) <= SCALE


def test_a_patient_with_half_a_million_events_counts_as_one_with_few():
    patient = np.repeat([0, 1], [500_000, 3])
    cell = np.concatenate([np.arange(500_000) % N_CELLS, [0, 1, 2]])
    who, _, share = shares(patient, cell, np.zeros_like(cell), N_CELLS)
    assert np.sqrt(np.bincount(who, weights=share**2.0)) == pytest.approx([SCALE, SCALE], rel=1e-3)


def test_rare_groups_count_as_much_as_frequent_ones():
    cell = np.array([0] * 99 + [1])
    _, _, share = shares(np.zeros(100, dtype=int), cell, cell, N_CELLS)
    assert share[0] == share[1] == pytest.approx(SCALE / np.sqrt(2), abs=1)


def test_items_of_one_patient_are_not_named_and_those_of_many_are():
    # 300 patients with item 0; one patient with items 1 to 99 of their own. Wrong with chance 1e-9.
    patient = np.concatenate([np.arange(300), np.full(99, 300)])
    item = np.concatenate([np.zeros(300, dtype=int), np.arange(1, 100)])
    named, size = found(patient, item, 100, noise=5.0, delta=1e-9, most_items=100)
    assert named.tolist() == [0]
    assert size == pytest.approx([300], abs=40)


def test_only_the_first_items_of_a_patient_count():
    patient, item = np.zeros(50, dtype=int), np.arange(50)
    everybody = np.repeat(np.arange(1, 2000), 2)
    named, _ = found(
        np.concatenate([patient, everybody]),
        np.concatenate([item, np.tile([0, 49], 1999)]),
        50,
        noise=1.0,
        delta=1e-9,
        most_items=2,
    )
    assert named.tolist() == [0, 49]


def test_the_threshold_is_above_what_one_patient_adds_whatever_their_number_of_items():
    noise, delta = 3.0, 1e-3
    bound = threshold(noise, delta, 64)
    rng = np.random.default_rng(0)
    for t in (1, 8, 64):
        passes = (1 / np.sqrt(t) + noise * rng.standard_normal((20_000, t)) > bound).any(axis=1).mean()
        assert passes < 2.5 * delta  # more than six standard deviations above delta


@pytest.mark.parametrize("is_broken", [False, True], ids=["as claimed", "not shrunk"])
def test_two_worlds_with_and_without_an_extreme_patient(is_broken):
    """Noise of 3.7304 sensitivities claims epsilon 1 at delta 1e-5; the patient has 10,000 events in one cell."""
    runs, noise = 4_000, 3.7304
    cells = np.arange(runs)  # each run is a cell of its own, seen by a patient of its own
    extra = np.full(runs * (30 if is_broken else 1), 1)
    one = noisy_sums(np.arange(runs), cells, runs, noise)
    patient = np.concatenate([np.arange(runs), runs + np.arange(len(extra))])
    other = noisy_sums(patient, np.concatenate([cells, np.tile(cells, len(extra) // runs)]), runs, noise)
    limit = 2 + 1.5 * noise
    bound = epsilon_lower_bound(
        int((other >= limit).sum()), runs, int((one >= limit).sum()), runs, delta=1e-5, confidence=1 - 1e-7
    )
    assert (bound > 1.0) == is_broken


def test_few_sums_of_noise_alone_stand_out_and_none_is_sure():
    noise = noisy_sums(np.empty(0, dtype=int), np.empty(0, dtype=int), 20_000, 5.0)
    assert stands_out(noise, 5.0).mean() < 0.004
    assert not len(reached(noise, 5.0, 20_000))  # wrong with chance 1e-6


def test_reached_are_the_cells_around_one_that_surely_is():
    sums = np.array([4.0, 0, 3.5, 9, 4, 0, 0, 3.5, 3.5, 0])
    assert reached(sums, 1.0, 10).tolist() == [2, 3, 4]
    assert reached(np.zeros(0), 1.0, 10).tolist() == []
