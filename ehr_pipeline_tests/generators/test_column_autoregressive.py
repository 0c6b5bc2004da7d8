"""What the flagship for tables promises beyond the contract: the chain, direct conditions, wide and long columns."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_autoregressive import ColumnAutoregressive
from ehr_pipeline.generators.column_calibration import match_shares, match_strengths
from ehr_pipeline.generators.column_network import MOST_HEADS_PER_STEP, ColumnNetwork
from ehr_pipeline.generators.configs import ColumnAutoregressiveConfig
from ehr_pipeline.generators.row_correction import DEPTH, MOST_BINS, RowCorrection
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline_tests.generators.tables import mixed_cohort

N = 6000


def cohort_of(columns: dict[str, np.ndarray], **kinds: str) -> TrainingCohort:
    schema = Schema(columns=tuple(Column(name=name, kind=kinds.get(name, "continuous")) for name in columns))
    table = conform(pd.DataFrame(columns), schema)
    return TrainingCohort(schema=schema, table=table, subject_id=np.arange(len(table)))


@pytest.fixture(scope="module")
def sick() -> TrainingCohort:
    """Age drives disease, disease drives HbA1c; one patient in 250 has a rare disease, and those are old."""
    rng = np.random.default_rng(0)
    age = np.round(rng.normal(60, 12, N), 1)
    diabetes = rng.random(N) < 1 / (1 + np.exp(-(age - 70) / 8))
    hba1c = np.round(np.where(diabetes, rng.normal(7.5, 1.0, N), rng.normal(5.4, 0.4, N)), 1)
    rare = rng.random(N) < np.where(age > 70, 0.02, 0.0005)
    unit = np.where(rng.random(N) < 0.2 + 0.6 * diabetes, "MICU", "CSRU")
    return cohort_of(
        {"hba1c": hba1c, "unit": unit, "age": age, "diabetes": diabetes.astype(int), "rare": rare.astype(int)},
        unit="categorical",
        diabetes="binary",
        rare="binary",
    )


@pytest.fixture(scope="module")
def model(sick) -> ColumnAutoregressive:
    return ColumnAutoregressive.fit(sick, ColumnAutoregressiveConfig(device="cpu"))


@pytest.fixture(scope="module")
def untrained() -> tuple[ColumnNetwork, torch.Tensor]:
    cohort = mixed_cohort()
    schema = ColumnAutoregressive.writable(cohort.schema)
    codec = TableCodec.fit(schema, cohort.table, cohort.subject_id)
    torch.manual_seed(0)
    network = ColumnNetwork(codec, hidden=8, dropout=0.0)
    for ends in network.ends:
        torch.nn.init.normal_(ends)
    return network.eval(), torch.from_numpy(codec.levels(cohort.table))


def test_dependence_between_columns_is_kept(model, sick):
    drawn, real = model.sample(20_000, seed=1), sick.table
    pairs = ["hba1c", "age", "diabetes"]
    # The standard error of a correlation of 6,000 rows is .013.
    assert np.abs(drawn[pairs].astype(float).corr() - real[pairs].astype(float).corr()).to_numpy().max() < 0.05
    share = {name: frame.loc[frame["diabetes"] == 1, "unit"].eq("MICU").mean() for name, frame in
             (("drawn", drawn), ("real", real))}  # fmt: skip
    assert abs(share["drawn"] - share["real"]) < 0.05


def test_a_condition_moves_the_columns_before_it_too(model, sick):
    drawn = model.sample(5_000, seed=2, conditions={"diabetes": 1})
    real = sick.table[sick.table["diabetes"] == 1]
    assert (drawn["diabetes"] == 1).all()
    assert abs(drawn["hba1c"].mean() - real["hba1c"].mean()) < 0.15
    assert abs(drawn["age"].mean() - real["age"].mean()) < 1.5


def test_a_conditional_is_that_of_the_joint_distribution(model):
    joint = model.sample(60_000, seed=3)
    chosen = joint[(joint["unit"] == "MICU") & (joint["diabetes"] == 0)]
    direct = model.sample(20_000, seed=4, conditions={"unit": "MICU", "diabetes": 0})
    assert abs(direct["age"].mean() - chosen["age"].mean()) < 1.0
    assert abs(direct["hba1c"].mean() - chosen["hba1c"].mean()) < 0.1


def test_a_rare_disease_is_drawn_on_request_at_the_cost_of_a_few_proposals(model, sick):
    drawn = model.sample(2_000, seed=5, conditions={"rare": 1})
    assert (drawn["rare"] == 1).all()
    assert drawn.attrs["acceptance_rate"] > 0.04  # plain rejection would keep one in 250
    assert drawn["age"].mean() > sick.table["age"].mean() + 5


def test_a_number_that_is_given_stands_as_it_was_given(model):
    drawn = model.sample(3_000, seed=6, conditions={"age": 81.3})
    assert (drawn["age"] == 81.3).all()
    assert drawn["diabetes"].mean() > 0.6  # 1 / (1 + exp(-11.3 / 8)) = .80


@pytest.fixture(scope="module")
def corrected(model) -> ColumnAutoregressive:
    """The model whose rows of the first unit count three times as much as others."""
    unit = model.schema.names.index("unit")
    goes_left = np.ones((1, 2**DEPTH - 1, MOST_BINS), dtype=bool)
    goes_left[0, 0] = np.arange(MOST_BINS) == 0
    values = np.zeros((1, 2**DEPTH))
    values[0, 0] = np.log(3)
    share = model.codec.level_shares[unit][0]
    correction = RowCorrection(
        bin_of_level=np.concatenate([np.minimum(np.arange(n), MOST_BINS - 1) for n in model.codec.n_levels]).astype(
            "u1"
        ),
        first_level=np.cumsum([0, *model.codec.n_levels[:-1]]),
        columns=np.full((1, 2**DEPTH - 1), unit),
        goes_left=goes_left,
        values=values,
        highest=float(np.log(3)),
        log_mean=float(np.log(1 + 2 * share)),
    )
    return ColumnAutoregressive(model.codec, model.config, model.network, model.history, correction)


def test_rows_are_drawn_and_scored_as_their_correction_says(model, corrected):
    name = model.codec.columns[model.schema.names.index("unit")].names[0]
    before, after = (some.sample(40_000, seed=7) for some in (model, corrected))
    share = (before["unit"] == name).mean()
    assert len(after) == 40_000
    assert (after["unit"] == name).mean() == pytest.approx(3 * share / (1 + 2 * share), abs=0.02)
    assert before.attrs["acceptance_rate"] == 1.0
    assert after.attrs["acceptance_rate"] == pytest.approx((1 + 2 * share) / 3, abs=0.02)
    some = before.iloc[:500]
    factor = np.where(some["unit"] == name, 3, 1) / (1 + 2 * share)
    assert np.allclose(corrected.scores(some) - model.scores(some), np.log(factor), atol=0.03)
    # Inside a unit nothing moved.
    ages = [frame.loc[frame["unit"] == name, "age"].mean() for frame in (before, after)]
    assert ages[0] == pytest.approx(ages[1], abs=0.5)


def test_a_condition_holds_and_moves_corrected_rows_as_bayes_has_it(model, corrected):
    name = model.codec.columns[model.schema.names.index("unit")].names[0]
    before, after = (some.sample(20_000, seed=8, conditions={"diabetes": 1}) for some in (model, corrected))
    assert (after["diabetes"] == 1).all()
    share = (before["unit"] == name).mean()
    assert (after["unit"] == name).mean() == pytest.approx(3 * share / (1 + 2 * share), abs=0.03)


def test_a_corrected_model_draws_the_same_rows_from_disk(corrected, tmp_path):
    corrected.save(tmp_path)
    again = ColumnAutoregressive.load(tmp_path)
    pd.testing.assert_frame_equal(again.sample(300, seed=9), corrected.sample(300, seed=9))
    assert len(again.sample(0, seed=9)) == 0


def test_a_head_sees_neither_its_own_column_nor_those_after_it(untrained):
    network, levels = untrained
    d = network.n_columns
    everything = [(len(levels), network.before)]
    hidden = network._hidden(network.embedded(levels), everything, torch.arange(d))
    for k in range(d):
        changed = levels.clone()
        changed[:, k] = (changed[:, k] + 1) % network.n_levels[k]
        moved = (network._hidden(network.embedded(changed), everything, torch.arange(d)) != hidden).flatten(1).any(1)
        assert not moved[: k + 1].any()
        assert moved[k + 1 :].any() or network.n_levels[k] == 1 or k == d - 1


def test_what_is_given_is_seen_by_all_heads_but_its_own(untrained):
    network, _ = untrained
    given = torch.zeros(network.n_columns, dtype=torch.bool)
    given[-1] = True
    seen = network.seen(given)
    assert seen[:-1, -1].all()
    assert not seen.diagonal().any()


def test_the_loss_of_a_patient_does_not_depend_on_the_others_of_the_batch(untrained):
    network, levels = untrained
    together = network.losses(levels[:8], share_done=1.0)
    alone = torch.cat([network.losses(levels[k : k + 1], share_done=1.0) for k in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_matched_heads_expect_each_level_as_often_as_it_occurs(untrained):
    network, levels = untrained
    match_shares(network, levels, n_steps=30)
    hidden = network.hidden(levels)
    for b, bucket in enumerate(network.buckets):
        columns = list(bucket.columns)
        expected = network.logits(b, hidden[columns]).softmax(2).mean(1)
        for row, k in enumerate(columns):
            occurs = torch.bincount(levels[:, k], minlength=bucket.n_levels) / len(levels)
            assert (expected[row] - occurs).abs().max() < 0.02


def test_heads_whose_weights_are_too_small_are_made_as_strong_as_the_rows_say(untrained):
    network, _ = untrained
    network = copy.deepcopy(network)
    torch.manual_seed(1)
    drawn = torch.zeros(50_000, network.n_columns, dtype=torch.int64)
    x = torch.zeros(len(drawn), network.width)
    for k in range(network.n_columns):
        drawn[:, k] = network.probabilities(k, x, until=k).multinomial(1).squeeze(1)
        network.show(x, k, drawn[:, k])
    strong = [ends.clone() for ends in network.ends]
    with torch.no_grad():
        for k in range(len(network.ends)):
            network.ends[k] /= 1.2
    match_strengths(network, drawn[:40_000], drawn[40_000:])
    for b, (ends, wanted) in enumerate(zip(network.ends, strong, strict=True)):
        for row, k in enumerate(network.buckets[b].columns):
            # Columns of one level have no strength; the first head reads nothing; the weakest are known to some 5 %.
            if k and network.n_levels[k] > 1:
                assert (ends[row] / wanted[row]).nanmedian().item() == pytest.approx(1.0, abs=0.1), k


def test_heads_are_not_made_stronger_by_what_they_know_by_heart(untrained):
    network, levels = untrained
    network = copy.deepcopy(network)
    rng = np.random.default_rng(2)
    shuffled = torch.from_numpy(np.stack([rng.permutation(column) for column in levels.numpy().T], axis=1))
    before = [ends.clone() for ends in network.ends]
    match_strengths(network, levels, shuffled)
    assert all(torch.equal(ends, old) for ends, old in zip(network.ends, before, strict=True))
    match_strengths(network, levels, levels[:0])
    assert all(torch.equal(ends, old) for ends, old in zip(network.ends, before, strict=True))


def test_a_penalty_makes_heads_read_less_of_columns_that_say_nothing():
    rng = np.random.default_rng(4)
    told = rng.normal(size=3000)
    noise = {f"noise_{k}": rng.normal(size=3000) for k in range(6)}
    cohort = cohort_of({"told": told, **noise, "telling": told + 0.3 * rng.normal(size=3000)})
    drawn = {}
    for penalty in (0.0, 0.5):
        config = ColumnAutoregressiveConfig(device="cpu", penalty=penalty, updates=600)
        network = ColumnAutoregressive.fit(cohort, config).network
        reads = (network.read[-1].square().sum(0) @ network.is_of_column).sqrt()
        drawn[penalty] = (reads[1:7].mean() / reads[0]).item()
    assert drawn[0.5] < 0.5 * drawn[0.0]


def test_more_columns_than_a_step_trains_are_all_learned():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=1500)
    columns = {f"x{k}": np.round(factor + 0.5 * rng.normal(size=1500), 2) for k in range(MOST_HEADS_PER_STEP + 6)}
    model = ColumnAutoregressive.fit(cohort_of(columns), ColumnAutoregressiveConfig(device="cpu", updates=300))
    drawn = model.sample(2_000, seed=0)
    correlation = drawn.corr().to_numpy()[np.triu_indices(len(columns), 1)]
    assert correlation.mean() > 0.5  # the truth is 1 / 1.25 = .8


def test_a_column_of_thousands_of_levels_is_learned_and_its_rare_ones_pooled():
    rng = np.random.default_rng(2)
    code = rng.zipf(1.5, 8000) % 5000
    group = np.where(code < 3, "common", "rare")
    cohort = cohort_of(
        {"group": group, "code": np.char.add("D", code.astype(str))}, group="categorical", code="categorical"
    )
    model = ColumnAutoregressive.fit(cohort, ColumnAutoregressiveConfig(device="cpu", updates=300))
    drawn = model.sample(4_000, seed=0)
    fits = drawn["code"].isin(["D1", "D2"]) == (drawn["group"] == "common")
    assert fits.mean() > 0.9
    several = cohort.table["code"].value_counts().loc[lambda n: n >= 5].index
    assert set(drawn["code"]) <= {*several, "other"}


def test_levels_beyond_a_byte_need_no_more_memory_than_two():
    code = np.char.add("D", (np.arange(4000) % 400).astype(str))
    cohort = cohort_of({"code": code}, code="categorical")
    codec = TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id)
    assert codec.small_levels(cohort.table).dtype == np.int16
    assert np.array_equal(codec.small_levels(cohort.table), codec.levels(cohort.table))
