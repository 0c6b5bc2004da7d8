"""What conditions promise: read as written, checked by column, met in every row, and cheap or given up in one line."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import OptionError, RejectionCapReached
from ehr_pipeline.generators import conditions
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import (
    conditions_row,
    draw_guided,
    draw_where,
    next_batch_rows,
    read_conditions,
    sample_table,
    wanted_levels,
)
from ehr_pipeline_tests.generators.tables import mixed_cohort


@pytest.fixture(scope="module")
def codec():
    cohort = mixed_cohort(600)
    schema = cohort.schema.without(["note", "number"])
    return TableCodec.fit(schema, cohort.table, cohort.subject_id)


class Coin:
    """Draws of one column that is 1 with a given chance; counts what was drawn."""

    def __init__(self, chance):
        self.chance, self.n_drawn, self.largest = chance, 0, 0

    def __call__(self, n, rng):
        self.n_drawn += n
        self.largest = max(self.largest, n)
        return (rng.random((n, 1)) < self.chance).astype(np.int64)


def test_conditions_are_read_as_they_are_written():
    assert read_conditions(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("texts", [["a"], ["=1"], [""], ["a=1", "a=2"]])
def test_conditions_written_otherwise_are_refused(texts):
    with pytest.raises(OptionError):
        read_conditions(texts)


def test_text_and_value_mean_the_same(codec):
    typed = conditions_row(codec, {"age": 70, "died": 1, "unit": "MICU", "admitted": pd.Timestamp("2150-02-01")})
    text = conditions_row(codec, {"age": "70", "died": "1", "unit": "MICU", "admitted": "2150-02-01"})
    pd.testing.assert_frame_equal(typed, text)
    pd.testing.assert_frame_equal(conditions_row(codec, {"unit": ""}), conditions_row(codec, {"unit": None}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lactate", 4321.5),  # beyond what patients reach
        ("lactate", "inf"),
        ("age", 70.25),  # between the column's steps
        ("visits", 1.5),
        ("died", 0.5),
        ("admitted", "2190-01-01"),
        ("drug", "QQ"),
        ("unit", "SICU"),  # in the public vocabulary, but no patient was there
        ("no_level", "x"),
    ],
)
def test_value_that_no_patient_had_is_refused_by_its_column_and_not_repeated(codec, name, value):
    with pytest.raises(OptionError, match=f"the condition on {name}") as refusal:
        conditions_row(codec, {name: value})
    assert "\n" not in str(refusal.value)
    assert str(value) not in str(refusal.value)


def test_wanted_levels_are_those_of_the_values(codec):
    row = conditions_row(codec, {"died": 1, "unit": ""})
    frame = codec.draw(
        np.tile([wanted_levels(codec, row).get(k, 0) for k in range(len(codec.columns))], (3, 1)),
        np.random.default_rng(0),
    )
    assert (frame["died"] == 1).all()
    assert frame["unit"].isna().all()


def test_a_rare_condition_is_met_and_its_rate_told():
    coin = Coin(0.001)
    levels, rate = draw_where(coin, 200, {0: 1}, np.random.default_rng(0))
    assert levels.shape == (200, 1) and (levels == 1).all()
    # 200 of about 200,000 draws: the standard error of the rate is 7 % of it.
    assert rate == pytest.approx(0.001, rel=0.3)
    assert coin.largest <= conditions.BATCH_ROWS


def test_a_frequent_condition_draws_little_more_than_it_needs():
    coin = Coin(0.5)
    draw_where(coin, 20_000, {0: 1}, np.random.default_rng(0))
    assert coin.n_drawn < 50_000
    few = Coin(0.5)
    draw_where(few, 3, {0: 1}, np.random.default_rng(0))
    assert few.n_drawn <= conditions.FEWEST_BATCH_ROWS


def test_without_a_condition_nothing_is_drawn_in_vain():
    coin = Coin(0.5)
    levels, rate = draw_where(coin, 70_000, {}, np.random.default_rng(0))
    assert (len(levels), coin.n_drawn, rate) == (70_000, 70_000, 1.0)


@pytest.mark.parametrize("n", [1, 65_536])
def test_conditions_that_no_draw_meets_are_given_up_soon(n):
    coin = Coin(0.0)
    with pytest.raises(RejectionCapReached, match="0 meet the conditions"):
        draw_where(coin, n, {0: 1}, np.random.default_rng(0))
    assert coin.n_drawn <= conditions.FEWEST_DRAWS + conditions.BATCH_ROWS


def test_next_batch_is_what_the_rate_so_far_asks_for():
    # 100 of 10,000 kept: 1.1 x 50 missing rows / 0.0101.
    assert next_batch_rows(50, 100, 10_000) == pytest.approx(5_446, abs=1)
    assert next_batch_rows(10**6, 1, 10**6) == conditions.BATCH_ROWS


def test_acceptance_rate_of_a_table_is_told(codec):
    shares = codec.level_shares

    def draw(n, rng):
        return np.column_stack([rng.choice(len(share), n, p=share) for share in shares])

    frame = sample_table(codec, draw, 500, 0, {"died": 1})
    share = shares[codec.schema.names.index("died")][1]
    assert frame.attrs["acceptance_rate"] == pytest.approx(share, abs=0.05)
    assert (frame["died"] == 1).all()


def weighed(wanted):
    """Draws of two columns: a trait, and a disease whose chance depends on it; the disease is given if `wanted`."""

    def draw(n, rng):
        trait = (rng.random(n) < 0.01).astype(np.int64)
        chance = np.where(trait == 1, 0.2, 0.002)
        disease = np.full(n, 1) if wanted else (rng.random(n) < chance).astype(np.int64)
        levels = np.column_stack([trait, disease])
        return (levels, chance) if wanted else levels

    return draw


def test_guided_rejection_gives_the_rows_of_plain_rejection_for_fewer_draws():
    guided, guided_rate = draw_guided(weighed(True), 20_000, np.random.default_rng(0))
    plain, plain_rate = draw_where(weighed(False), 2_000, {1: 1}, np.random.default_rng(1))
    # Of the sick, 0.01 x 0.2 of 0.01 x 0.2 + 0.99 x 0.002 have the trait: 0.5025.
    assert guided[:, 0].mean() == pytest.approx(0.5025, abs=0.02)
    assert plain[:, 0].mean() == pytest.approx(0.5025, abs=0.05)
    assert len(guided) == 20_000 and (guided[:, 1] == 1).all()
    # The bound is 0.4 at most, so that it takes 2.5 times fewer draws at least.
    assert guided_rate == pytest.approx(2.5 * plain_rate, rel=0.15)


def test_guided_rejection_gives_up_what_the_model_finds_all_but_impossible():
    def draw(n, rng):
        return np.zeros((n, 1), dtype=np.int64), rng.random(n) * 1e-6

    with pytest.raises(RejectionCapReached, match="one in 100,000"):
        draw_guided(draw, 10, np.random.default_rng(0))
