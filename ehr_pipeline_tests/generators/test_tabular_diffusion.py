"""Masked diffusion: its forward and reverse process do what they say, and the table's dependence comes out of them."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularDiffusionConfig
from ehr_pipeline.generators.tabular_diffusion import DenoisingNetwork, TabularDiffusion
from ehr_pipeline.generators.training import seeded
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline_tests.generators.tables import medicore_cohort, mixed_cohort

CPU = torch.device("cpu")
QUICK = TabularDiffusionConfig(updates=300, hidden=128, levels=32, device="cpu")


@pytest.fixture(scope="module")
def cohort():
    return medicore_cohort(4000)


@pytest.fixture(scope="module")
def generator(cohort):
    return TabularDiffusion.fit(cohort, QUICK)


@pytest.fixture(scope="module")
def drawn(generator):
    return generator.sample(4000, seed=1)


def untrained(cohort: TrainingCohort, **settings) -> tuple[DenoisingNetwork, torch.Tensor]:
    """A network with random heads, and the table's levels."""
    codec = TableCodec.fit(cohort.schema.without(["note", "number"]), cohort.table, cohort.subject_id)
    with seeded(0, CPU):
        network = DenoisingNetwork(codec, TabularDiffusionConfig(hidden=32, dropout=0.0, **settings))
        for heads in network.heads:
            nn.init.normal_(heads.heads.weight, std=0.1)
    return network.eval(), torch.from_numpy(codec.levels(cohort.table))


def distributions(network: DenoisingNetwork, z: torch.Tensor) -> list[torch.Tensor]:
    """What the network says of each column given what stands: per column, (rows, levels)."""
    vectors = network.vectors()
    read = sum(vectors[network.vectors.first[k] + z[:, k]] for k in range(z.shape[1]))
    hidden = network.body(read)
    shares = []
    for k, n in enumerate(network.mask.tolist()):
        head, j = network.place[k]
        shares.append(network.heads[head](hidden)[j, :, :n].softmax(dim=1))
    return shares


def test_marginals_are_kept(cohort, drawn):
    for name in ("age", "bmi", "hba1c", "cholesterol", "systolic_bp", "creatinine"):
        # Two samples of 4,000 of one distribution are 0.030 apart one time in twenty.
        assert ks_2samp(cohort.table[name], drawn[name]).statistic < 0.045, name
    for name in ("diabetes", "treatment", "adverse_event"):
        assert abs(cohort.table[name].mean() - drawn[name].mean()) < 0.03, name


def test_dependence_is_kept(cohort, drawn):
    numbers = cohort.table.columns.drop("sex")
    real = np.corrcoef(cohort.table[numbers].to_numpy(dtype=float).T)
    ours = np.corrcoef(drawn[numbers].to_numpy(dtype=float).T)
    above = np.triu_indices(len(numbers), 1)
    # Independent columns are 0.11 off on average; two real samples of 4,000 are 0.013 apart.
    assert np.abs(real - ours)[above].mean() < 0.03


def test_rows_are_not_copies_of_training_rows(cohort, drawn):
    real = set(map(tuple, cohort.table.astype(str).to_numpy()))
    assert not sum(row in real for row in map(tuple, drawn.astype(str).to_numpy()))


def test_forward_process_masks_every_number_of_levels_equally_often():
    network, levels = untrained(mixed_cohort(400))
    n, d = 30_000, levels.shape[1]
    with seeded(0, CPU):
        is_masked, n_masked = network.forward_process(levels[:1].expand(n, d))
    assert torch.equal(is_masked.sum(dim=1), n_masked)
    # Spread evenly over the batch: each of 1..d has n / d rows but for one at either end.
    assert (np.abs(np.bincount(n_masked, minlength=d + 1)[1:] - n / d) <= 1).all()
    # Each column is masked in (d + 1) / 2d of the rows; a standard deviation is 0.003.
    assert np.abs(is_masked.float().mean(dim=0).numpy() - (d + 1) / (2 * d)).max() < 0.015


def test_loss_is_the_bound_of_a_slow_twin():
    network, levels = untrained(mixed_cohort(60))
    d = levels.shape[1]
    with seeded(3, CPU):
        ours = network.train().losses(levels, share_done=0.0).detach()
    with seeded(3, CPU):
        is_masked, n_masked = network.forward_process(levels)
    with torch.no_grad():
        shares = distributions(network, torch.where(is_masked, network.mask, levels))
    for i in range(len(levels)):
        masked = [k for k in range(d) if is_masked[i, k]]
        twin = -sum(torch.log(shares[k][i, levels[i, k]]) for k in masked) * d / len(masked)
        assert float(ours[i]) == pytest.approx(float(twin), rel=1e-4)
        assert int(n_masked[i]) == len(masked)


def test_loss_of_independent_columns_is_their_entropy():
    cohort = mixed_cohort(400)
    codec = TableCodec.fit(cohort.schema.without(["note", "number"]), cohort.table, cohort.subject_id)
    network = DenoisingNetwork(codec, TabularDiffusionConfig())  # heads start at the columns' own shares
    entropy = -sum(float((p[p > 0] * np.log(p[p > 0])).sum()) for p in codec.level_shares)
    levels = torch.from_numpy(codec.levels(cohort.table)).repeat(12, 1)
    with seeded(0, CPU), torch.no_grad():
        loss = float(network.eval().losses(levels, share_done=0.0).mean())
    assert loss == pytest.approx(entropy, rel=0.01)


def test_reverse_process_draws_each_level_as_often_as_the_network_says():
    network, levels = untrained(mixed_cohort(400))
    n, d = 40_000, levels.shape[1]
    k = int(network.mask.argmax())
    standing = levels[:1].clone()
    standing[:, k] = network.mask[k]
    wanted = distributions(network, standing)[k][0].detach().numpy()
    drawn = network.reverse_process(standing.repeat(n, 1), [k], torch.Generator().manual_seed(0))
    shares = np.bincount(drawn[:, k], minlength=int(network.mask[k])) / n
    # A share's standard deviation is at most sqrt(0.25 / n) = 0.0025.
    assert np.abs(shares - wanted).max() < 0.012
    others = [j for j in range(d) if j != k]
    assert torch.equal(drawn[:, others], levels[:1, others].expand(n, -1))


def test_reverse_process_reads_what_it_has_drawn():
    network, levels = untrained(mixed_cohort(400))
    n, d = 200, levels.shape[1]
    rng = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(d).tolist()
    drawn = network.reverse_process(network.mask.repeat(n, 1), order, rng)
    # The slow twin: the same uniform numbers, and the whole network anew for every column.
    rng, z = torch.Generator().manual_seed(0), network.mask.repeat(n, 1)
    for k in order:
        shares = distributions(network, z)[k].cumsum(dim=1)
        z[:, k] = (shares[:, :-1] < torch.rand(n, 1, generator=rng)).sum(dim=1)
    # Sums in another order differ in the last digit, and now and then a draw with them.
    assert (drawn == z).all(dim=1).float().mean() > 0.98


def test_rows_do_not_touch_each_other_in_training():
    network, levels = untrained(mixed_cohort(60))
    network.train()
    together = distributions(network, levels)
    alone = distributions(network, levels[:1])
    for one, among_others in zip(alone, together, strict=True):
        assert torch.allclose(one, among_others[:1], atol=1e-5)


def test_condition_is_the_conditional_and_costs_no_rejection(cohort, generator):
    sick = cohort.table[cohort.table["diabetes"] == 1]
    drawn = generator.sample(4000, seed=0, conditions={"diabetes": 1})
    assert drawn.attrs["acceptance_rate"] == 1.0
    assert (drawn["diabetes"] == 1).all()
    # HbA1c of all is 1.0 lower than that of diabetics.
    assert abs(drawn["hba1c"].mean() - sick["hba1c"].mean()) < 0.15
    assert abs(drawn["cvd"].mean() - sick["cvd"].mean()) < 0.06


def test_condition_on_a_number_is_exact_and_the_others_follow(cohort, generator):
    old = cohort.table[cohort.table["age"].between(78, 82)]
    drawn = generator.sample(2000, seed=0, conditions={"age": 80.0, "sex": "F"})
    assert (drawn["age"] == 80.0).all()
    assert (drawn["sex"] == "F").all()
    assert abs(drawn["cvd"].mean() - old["cvd"].mean()) < 0.12


def test_all_columns_may_be_the_condition(cohort, generator):
    row = dict(cohort.table.iloc[0].items())
    drawn = generator.sample(3, seed=0, conditions=row)
    for name, value in row.items():
        assert (drawn[name] == value).all(), name


def test_condition_on_a_rare_level_is_as_fast_as_none():
    rng = np.random.default_rng(0)
    n = 6000
    rare = rng.permutation(n) < 6  # 0.1 %
    schema = Schema(columns=(Column(name="rare", kind="binary"), Column(name="x", kind="continuous", decimals=2)))
    table = conform(pd.DataFrame({"rare": rare.astype(int), "x": rng.normal(size=n).round(2)}), schema)
    cohort = TrainingCohort(schema=schema, table=table, subject_id=np.arange(n))
    generator = TabularDiffusion.fit(cohort, TabularDiffusionConfig(updates=30, device="cpu"))
    started = time.process_time()
    drawn = generator.sample(20_000, seed=0, conditions={"rare": 1})
    assert (drawn["rare"] == 1).all()
    assert time.process_time() - started < 10  # rejection would draw 20 million rows


def test_condition_on_missing_holds(tmp_path):
    generator = TabularDiffusion.fit(mixed_cohort(400), QUICK.model_copy(update={"updates": 40}))
    drawn = generator.sample(50, seed=0, conditions={"lactate": None, "unit": ""})
    assert drawn[["lactate", "unit"]].isna().all(axis=None)
    with pytest.raises(OptionError, match="died"):
        generator.sample(5, seed=0, conditions={"died": ""})


def test_columns_with_very_many_levels_and_with_one_stand_side_by_side():
    rng = np.random.default_rng(0)
    n = 3000
    schema = Schema(columns=tuple(Column(name=name, kind="categorical") for name in ("code", "two", "one")))
    frame = pd.DataFrame(
        {"code": np.char.add("c", rng.integers(0, 300, n).astype(str)), "two": rng.choice(["a", "b"], n), "one": "x"}
    )
    cohort = TrainingCohort(schema=schema, table=conform(frame, schema), subject_id=np.arange(n))
    generator = TabularDiffusion.fit(cohort, QUICK.model_copy(update={"updates": 30}))
    drawn = generator.sample(2000, seed=0)
    assert set(drawn["code"]) <= {*frame["code"], "other"}
    assert set(drawn["two"]) == {"a", "b"}
    assert set(drawn["one"]) == {"x"}


def test_table_need_not_be_a_frame():
    class Columns:
        """What a table read column by column has."""

        def __init__(self, frame: pd.DataFrame) -> None:
            self._frame = frame

        def __len__(self) -> int:
            return len(self._frame)

        def __getitem__(self, name: str) -> pd.Series:
            return self._frame[name]

    frame, config = mixed_cohort(100), QUICK.model_copy(update={"updates": 20})
    columns = TrainingCohort(schema=frame.schema, table=Columns(frame.table), subject_id=frame.subject_id)
    drawn = [TabularDiffusion.fit(cohort, config).sample(40, seed=0) for cohort in (frame, columns)]
    pd.testing.assert_frame_equal(*drawn)


def test_history_has_a_loss_per_epoch():
    history = TabularDiffusion.fit(mixed_cohort(200), QUICK.model_copy(update={"updates": 40})).history
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    assert {"loss", "validation_loss"} <= set(history[0])
