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
        if series.isna().sum() not in range(1, 5):
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


def test_public_vocabulary_lets_no_other_level_stand():
    codec, series = fit(["a"] * 50 + ["b"] * 5 + ["not public"] * 20, vocabulary=("a", "b", "c"))
    assert codec.names == ("a", "b")
    assert set(codec.draw(codec.levels(series))) == {"a", "b"}


def test_public_level_of_few_patients_is_pooled_if_the_vocabulary_has_the_pool():
    values = ["a"] * 50 + ["b"] * 3 + ["c"] * 2
    codec, series = fit(values, vocabulary=("a", "b", "c", POOLED))
    assert codec.names == ("a", POOLED)
    assert codec.shares.tolist() == pytest.approx([50 / 55, 5 / 55])
    assert set(fit(values, vocabulary=("a", "b", "c"))[0].names) == {"a"}
    # Four in the pool tell too much as well.
    assert fit(values[:-1], vocabulary=("a", "b", "c", POOLED))[0].names == ("a",)
    assert set(codec.draw(codec.levels(series))) == {"a", POOLED}


@pytest.mark.parametrize(("n_missing", "is_kept"), [(1, False), (4, False), (5, True)])
def test_gaps_of_few_patients_are_not_drawn(n_missing, is_kept):
    codec, series = fit(["a"] * 60 + ["b"] * 20 + [None] * n_missing)
    assert codec.may_be_missing == is_kept
    assert pd.isna(codec.draw(codec.levels(series))).any() == is_kept
    assert codec.shares.sum() == pytest.approx(1.0)


def test_column_that_few_patients_have_is_missing():
    codec, series = fit(["1"] * 3 + [None] * 67, vocabulary=("0", "1"))
    assert pd.isna(codec.draw(codec.levels(series))).all()
    never, _ = fit(["1"] * 3 + ["0"] * 67, vocabulary=("0", "1"), may_miss=False)
    assert never.names == ("0",)


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
