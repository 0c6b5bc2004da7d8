"""The private column codec: what it counts, what one patient may move, and how near it comes."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators import private_codec
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.private_codec import (
    OneRowEach,
    cell_counts,
    codec_mechanism,
    learn_private_codec,
    require_public,
)
from ehr_pipeline.record import Column, Schema, conform

SCHEMA = Schema(
    columns=(
        Column(name="lab", kind="continuous", minimum=3.5, maximum=14, decimals=2),
        Column(name="visits", kind="integer", minimum=0, maximum=4, missing=False),
        Column(name="died", kind="binary", missing=False),
        Column(name="unit", kind="categorical", levels=("CCU", "MICU", "SICU", "other")),
    )
)


def cohort(n: int, seed: int = 0, rows_per_patient: int = 1) -> TrainingCohort:
    rng = np.random.default_rng(seed)
    lab = np.clip(rng.normal(4.5, 0.9, n), 3.5, 14).round(2)
    frame = pd.DataFrame(
        {
            "lab": np.where(rng.random(n) < 0.2, np.nan, lab),
            "visits": rng.poisson(1, n).clip(0, 4),
            "died": (rng.random(n) < 0.3).astype(int),
            "unit": pd.Series(["CCU", "MICU"])[rng.integers(0, 2, n)].to_numpy(),
        }
    )
    return TrainingCohort(
        schema=SCHEMA, table=conform(frame, SCHEMA), subject_id=np.arange(n, dtype=np.int64) // rows_per_patient
    )


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=20),
    st.lists(st.one_of(st.none(), st.sampled_from(["CCU", "MICU", "", "a stranger"])), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_one_more_patient_adds_one_to_one_cell(numbers, units):
    for name, values in (("lab", pd.Series(numbers, dtype="float64")), ("unit", pd.Series(units, dtype="str"))):
        column = SCHEMA[name]
        counts = [cell_counts(column, values.iloc[:n]) for n in range(len(values) + 1)]
        for before, after in itertools.pairwise(counts):
            assert sorted((after - before).tolist()) == [0] * (len(before) - 1) + [1]


def test_value_outside_the_vocabulary_counts_as_the_pool_or_not_at_all():
    values = pd.Series(["CCU", "a stranger", None], dtype="str")
    assert cell_counts(SCHEMA["unit"], values).tolist() == [1, 0, 0, 1, 1]
    bare = Column(name="unit", kind="categorical", levels=("CCU", "MICU"), missing=False)
    assert cell_counts(bare, values).tolist() == [1, 0]


def test_first_row_of_a_patient_stands_for_all():
    rows = OneRowEach(cohort(30, rows_per_patient=3))
    assert len(rows) == 10
    assert rows["visits"].tolist() == cohort(30).table["visits"].iloc[::3].tolist()


def test_spends_what_its_mechanism_says(monkeypatch):
    scales = []

    def counted(counts, noise_multiplier, *, sensitivity=1.0):
        scales.append(noise_multiplier / sensitivity)
        return counts

    monkeypatch.setattr(private_codec, "noisy_counts", counted)
    learn_private_codec(SCHEMA, OneRowEach(cohort(500)), 7.0)
    mechanism = codec_mechanism(SCHEMA, 7.0)
    assert sum(1 / scale**2 for scale in scales) == pytest.approx(mechanism.steps / mechanism.noise_multiplier**2)


def test_patients_and_shares_are_found_through_the_noise():
    data = cohort(20_000)
    codec, n = learn_private_codec(SCHEMA, OneRowEach(data), 30.0)
    # 6 standard deviations of the sum of a binary column's two counts.
    assert abs(n - 20_000) < 6 * 30 * np.sqrt(2)
    lab, visits, died, unit = codec.columns
    assert lab.missing_share == pytest.approx(0.2, abs=0.02)
    assert died.level_shares[1] == pytest.approx(data.table["died"].mean(), abs=0.02)
    assert unit.names[:2] == ("CCU", "MICU")
    assert unit.level_shares[:2].sum() > 0.97
    at_bound = (data.table["lab"] == 3.5).sum() / data.table["lab"].notna().sum()
    assert lab.is_heavy_level(0)
    assert lab.segment_ranks[1] == pytest.approx(at_bound, abs=0.03)
    assert visits.lowest == 0


def test_little_budget_keeps_the_shape_that_raw_counts_lose():
    data = cohort(50_000)
    present = np.sort(data.table["lab"].dropna().to_numpy())
    noise = 280.0
    errors = []
    for seed in range(3):
        codec, _ = learn_private_codec(SCHEMA, OneRowEach(data), noise)
        drawn = np.sort(codec.columns[0].from_ranks(np.random.default_rng(seed).random(40_000)))
        grid = np.unique(present)
        share = [np.searchsorted(values, grid, side="right") / len(values) for values in (present, drawn)]
        errors.append(np.abs(share[0] - share[1]).max())
    # Sums of half of 256 raw cells alone would be off by 280 * sqrt(128) / 40,000 = 0.08.
    assert np.mean(errors) < 0.06


@pytest.mark.parametrize("noise", [1.0, 5_000.0])
def test_no_patient_at_all_still_makes_a_codec(noise):
    empty = cohort(1)
    codec, n = learn_private_codec(SCHEMA, OneRowEach(empty), noise)
    assert n >= 1
    frame = codec.draw(np.zeros((5, 4), dtype=np.int64), np.random.default_rng(0))
    assert frame["visits"].between(0, 4).all()
    assert set(frame["unit"].dropna()) <= set(SCHEMA["unit"].levels)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column(name="when", kind="time"), "holds times"),
        (Column(name="lab", kind="continuous", minimum=0), "minimum and maximum"),
        (Column(name="unit", kind="categorical"), "needs its levels"),
    ],
)
def test_column_without_public_knowledge_is_refused_by_name(column, words):
    with pytest.raises(DefinitionError, match=f"{column.name}.*{words}"):
        require_public(Schema(columns=(column,)))
