"""What a balance promises: exact shares, inside a part the model's own rows, shuffled, the same for the same seed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators import balance as balance_module
from ehr_pipeline.generators.balance import (
    Cost,
    Part,
    draw_parts,
    largest_remainder,
    plan_parts,
    read_balance,
    sample_balanced,
)
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.registry import GENERATORS, generator_type
from ehr_pipeline_tests.generators.tables import medicore_cohort, mixed_cohort


@pytest.fixture(scope="module")
def independent():
    return generator_type("independent").fit(mixed_cohort(800), GENERATORS["independent"].config_type())


def test_balances_are_read_as_they_are_written():
    texts = ["sex", "unit=MICU:0.5,CCU:.25", "age=[70-80):0.1,:0.2", 'place="A, B:0.5",C:0.5', "kind=a:b:1"]
    assert read_balance(texts) == {
        "sex": {},
        "unit": {"MICU": 0.5, "CCU": 0.25},
        "age": {"[70-80)": 0.1, "": 0.2},
        "place": {"A, B": 0.5, "C": 0.5},
        "kind": {"a:b": 1.0},
    }


@pytest.mark.parametrize(
    "texts",
    [
        ["sex="],
        ["=F:1"],
        [""],
        ["sex=F"],
        ["sex=F:x"],
        ["sex=F:-1"],
        ["sex=F:2"],
        ["sex=F:nan"],
        ["sex", "sex"],
        ["sex=F:0.5,F:0.5"],
    ],
)
def test_balances_written_otherwise_are_refused(texts):
    with pytest.raises(OptionError):
        read_balance(texts)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30), st.integers(0, 10_000))
def test_largest_remainder_hands_out_every_row_and_is_off_by_less_than_one(weights, n):
    shares = np.array(weights) / sum(weights)
    counts = largest_remainder(shares, n)
    assert counts.sum() == n
    assert (np.abs(counts - shares * n) < 1 + 1e-6).all()


def test_equal_shares_are_exact_and_the_rest_keeps_its_proportions(independent):
    frame = sample_balanced(independent, 1_001, 0, {"died": {}})
    assert sorted(frame["died"].value_counts()) == [500, 501]
    frame = sample_balanced(independent, 1_000, 0, {"unit": {"MICU": 0.2}})
    assert (frame["unit"] == "MICU").sum() == 200
    codec = independent.codec.columns[independent.schema.names.index("unit")]
    own = dict(zip([*codec.names, "missing"], codec.level_shares, strict=True))
    expected = 800 * own["CCU"] / (own["CCU"] + own["missing"])
    assert abs((frame["unit"] == "CCU").sum() - expected) < 1


def test_a_rare_level_gets_the_rows_that_are_asked_for(independent):
    frame = sample_balanced(independent, 400, 0, {"unit": {"": 0.75}}, {"died": 1})
    assert frame["unit"].isna().sum() == 300
    assert (frame["died"] == 1).all()


def test_two_columns_give_their_cross(independent):
    frame = sample_balanced(independent, 1_000, 0, {"died": {}, "unit": {"MICU": 0.3, "CCU": 0.7}})
    counts = frame.groupby(["died", "unit"]).size()
    assert counts.to_dict() == {(0, "CCU"): 350, (0, "MICU"): 150, (1, "CCU"): 350, (1, "MICU"): 150}
    assert [part["n_rows"] for part in frame.attrs["parts"]] == [150, 350, 150, 350]


def test_same_seed_same_rows_another_seed_others_and_columns_keep_their_dtypes(independent):
    first = sample_balanced(independent, 300, 5, {"unit": {}})
    pd.testing.assert_frame_equal(first, sample_balanced(independent, 300, 5, {"unit": {}}))
    assert not first.equals(sample_balanced(independent, 300, 6, {"unit": {}}))
    assert first.dtypes.equals(independent.sample(3, 0).dtypes)
    assert len(sample_balanced(independent, 0, 5, {"unit": {}})) == 0


def test_without_a_balance_the_sample_is_the_models_own(independent):
    frame = sample_balanced(independent, 500, 0, conditions={"died": 1})
    assert len(frame) == 500 and frame.attrs["parts"][0]["n_rows"] == 500


@pytest.mark.parametrize(
    ("wanted", "conditions", "named"),
    [
        ({"nobody": {}}, {}, "nobody"),
        ({"age": {}}, {}, "age is a column of numbers"),
        ({"admitted": {}}, {}, "admitted is a column of numbers or times"),
        ({"unit": {"NICU": 0.5}}, {}, "unit names a level"),
        ({"died": {"": 0.5}}, {}, "died names a level"),
        ({"died": {"0": 0.7, "1": 0.7}}, {}, "sum to 1 at most"),
        ({"died": {"0": 0.2, "1": 0.2}}, {}, "names every level"),
        ({"died": {"0": -1.0, "1": 2.0}}, {}, "shares from 0 to 1"),
        ({"died": {}}, {"died": 1}, "died has a condition and a balance"),
        ({"died": {}}, {"unit": "NICU"}, "unit"),
    ],
)
def test_balance_that_cannot_be_is_one_line_that_names_its_column(independent, wanted, conditions, named):
    with pytest.raises(OptionError, match=named) as refusal:
        sample_balanced(independent, 10, 0, wanted, conditions)
    assert "NICU" not in str(refusal.value)


def test_too_many_parts_are_refused(independent, monkeypatch):
    monkeypatch.setattr(balance_module, "MOST_PARTS", 3)
    with pytest.raises(OptionError, match="died, unit makes 4 parts"):
        plan_parts(independent.codec, 10, {"died": {}, "unit": {}})


def counted(n, seed, conditions):
    """Rows that say which part they are of, one in four draws of which met its conditions."""
    frame = pd.DataFrame({"part": np.full(n, conditions["part"]), "value": np.random.default_rng(seed).random(n)})
    frame.attrs["acceptance_rate"] = 0.25
    return frame


def test_parts_are_dealt_into_chunks_as_if_the_whole_table_were_shuffled():
    parts = [Part(conditions={"part": k}, n_rows=n) for k, n in enumerate((900, 90, 10))]
    costs = [Cost() for _ in parts]
    chunks = list(draw_parts(counted, parts, 0, costs, chunk_rows=100))
    assert [len(chunk) for chunk in chunks] == [100] * 10
    table = pd.concat(chunks, ignore_index=True)
    assert table["part"].value_counts().sort_index().tolist() == [900, 90, 10]
    # The mean place of 90 shuffled rows of 1,000 is 499.5, give or take 29.
    assert abs(np.flatnonzero(table["part"] == 1).mean() - 499.5) < 3 * 29
    assert table["value"].is_unique
    assert [cost.acceptance_rate for cost in costs] == [0.25] * 3


def test_what_is_thrown_away_is_drawn_again_for_its_own_part():
    parts = [Part(conditions={"part": k}, n_rows=n) for k, n in enumerate((500, 300))]
    costs = [Cost() for _ in parts]
    largest = 0

    def keep(rows):
        nonlocal largest
        largest = max(largest, len(rows))
        return rows[(rows["part"] == 0) | (rows["value"] < 0.05)]

    table = pd.concat(draw_parts(counted, parts, 0, costs, keep=keep, chunk_rows=400), ignore_index=True)
    assert table["part"].value_counts().sort_index().tolist() == [500, 300]
    assert (table.loc[table["part"] == 1, "value"] < 0.05).all()
    assert largest <= balance_module.FEWEST_ROUND_ROWS + 2
    # 300 rows at one in twenty are some 6,000 drawn rows, at one in four some 24,000 draws.
    assert costs[1].n_draws == pytest.approx(24_000, rel=0.2)


def test_rejection_in_a_network_gives_exact_shares_too():
    cohort = medicore_cohort(1_000)
    config = TabularVAEConfig(updates=40, device="cpu")
    generator = generator_type("tabular_vae").fit(cohort, config)
    frame = sample_balanced(generator, 301, 1, {"diabetes": {}, "cvd": {}})
    assert sorted(frame.groupby(["diabetes", "cvd"]).size()) == [75, 75, 75, 76]
    assert 0 < frame.attrs["acceptance_rate"] < 1
    assert all(0 < part["acceptance_rate"] < 1 for part in frame.attrs["parts"])
