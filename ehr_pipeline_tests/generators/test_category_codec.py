"""Categories to levels, and what becomes of rare ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.generators.category_codec import POOLED, CategoryCodec

texts = st.lists(st.one_of(st.none(), st.sampled_from("abc"), st.text(max_size=3)), min_size=1, max_size=80)


def fit(values: list[str | None], subject_id: np.ndarray | None = None, **settings_) -> tuple[CategoryCodec, pd.Series]:
    series = pd.Series(values, dtype="str")
    return CategoryCodec.fit(series, np.arange(len(values)) if subject_id is None else subject_id, **settings_), series


@given(texts)
@settings(max_examples=60, deadline=None)
def test_only_levels_of_five_patients_come_back_and_gaps_stay_gaps(values):
    codec, series = fit(values)
    drawn = codec.draw(codec.levels(series))
    counts = series.value_counts()
    allowed = set(counts[counts >= 5].index) | {POOLED, None}
    assert set(drawn) <= allowed
    assert codec.shares.sum() == pytest.approx(1.0)
    if codec.names:
        assert np.array_equal(pd.isna(drawn), series.isna())
        counted = np.bincount(codec.levels(series), minlength=codec.n_levels) / len(series)
        assert np.allclose(counted, codec.shares)


def test_rare_levels_are_pooled_if_the_pool_has_enough_patients():
    codec, series = fit(["a"] * 50 + [f"rare{k}" for k in range(8)])
    assert codec.names == ("a", POOLED)
    assert (codec.draw(codec.levels(series)) == POOLED).sum() == 8


def test_pool_of_too_few_patients_becomes_the_most_frequent_level():
    codec, series = fit(["a"] * 50 + ["b"] * 20 + ["x", "y", "z"])
    assert codec.names == ("a", "b")
    assert (codec.draw(codec.levels(series)) == "a").sum() == 53


def test_many_rows_of_one_patient_do_not_make_a_level():
    codec, _ = fit(["a"] * 50 + ["mine"] * 50, np.array([*range(50), *[99] * 50]))
    assert codec.names == ("a",)


def test_public_vocabulary_lets_a_rare_level_stand_and_no_other():
    codec, series = fit(["a"] * 50 + ["b"] + ["not public"] * 20, vocabulary=("a", "b", "c"))
    assert codec.names == ("a", "b")
    assert set(codec.draw(codec.levels(series))) == {"a", "b"}


def test_all_distinct_texts_become_one_pool():
    codec, series = fit([f"text {k}" for k in range(1000)])
    assert set(codec.draw(codec.levels(series))) == {POOLED}


def test_ten_thousand_levels_are_kept_apart():
    codec, series = fit([f"code{k % 10_000:05d}" for k in range(60_000)])
    assert codec.n_levels == 10_000
    assert (codec.draw(codec.levels(series)) == series.to_numpy(dtype=object)).all()


def test_level_never_seen_in_training_is_read_as_the_pool():
    codec, _ = fit(["a"] * 50 + [f"rare{k}" for k in range(8)])
    assert codec.draw(codec.levels(pd.Series(["new"], dtype="str"))).tolist() == [POOLED]
