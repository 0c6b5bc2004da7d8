"""The private tiers of the generators that train a network: what they may see of patients, and what comes of it."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import Generator, TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import (
    ColumnAutoregressiveConfig,
    TabularDiffusionConfig,
    TabularGANConfig,
    TabularVAEConfig,
)
from ehr_pipeline.generators.gan_rows import RowLayout
from ehr_pipeline.generators.log_bilinear import LogBilinearNetwork
from ehr_pipeline.generators.private_adversaries import (
    MOMENTS_NAME,
    NoisyMoments,
    PrivateCritic,
    clipped_to_grid,
)
from ehr_pipeline.generators.private_autoencoder import PrivateAutoencoder
from ehr_pipeline.generators.private_codec import OneRowEach, learn_private_codec
from ehr_pipeline.generators.private_denoiser import PrivateDenoiser
from ehr_pipeline.generators.private_tier import example_levels, private_plan, private_steps
from ehr_pipeline.generators.registry import generator_type
from ehr_pipeline.generators.training import data_tensors
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.privacy.training import STEPS_NAME, patient_gradients, require_rows_apart
from ehr_pipeline.record import Schema
from ehr_pipeline_tests.generators.tables import medicore_cohort, public_cohort, public_schema

CONFIGS = {
    "column_autoregressive": ColumnAutoregressiveConfig,
    "tabular_vae": TabularVAEConfig,
    "tabular_diffusion": TabularDiffusionConfig,
    "tabular_gan": TabularGANConfig,
}
BUDGET = Budget(epsilon=1.0, delta=1e-5)


def quick(name: str, **settings_: float):
    return CONFIGS[name](device="cpu", private_steps=4, **settings_)


def fitted(name: str, cohort: TrainingCohort, budget: Budget = BUDGET) -> Generator:
    return generator_type(name).fit(cohort, quick(name), budget)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def generator(name) -> Generator:
    return fitted(name, public_cohort(600))


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    return learn_private_codec(public_schema(), OneRowEach(public_cohort(3000)), 5.0)[0]


def network_and_patients(name: str, codec: TableCodec, n: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network that a private fit trains, moved a little from its start, and what it sees of `n` patients."""
    torch.manual_seed(0)
    config, rows = quick(name), OneRowEach(public_cohort(n, seed=3))
    if name == "tabular_gan":
        layout = RowLayout.of(codec)
        network = PrivateCritic(layout, config)
        batch = (*data_tensors(torch.device("cpu"), *layout.encoded(rows)), torch.randn(n, layout.width))
    else:
        network_of = {
            "column_autoregressive": LogBilinearNetwork,
            "tabular_vae": functools.partial(PrivateAutoencoder, config=config),
            "tabular_diffusion": functools.partial(PrivateDenoiser, config=config),
        }[name]
        network = network_of(codec)
        batch = data_tensors(torch.device("cpu"), codec.small_levels(rows))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network, batch


# The unit is the patient ---------------------------------------------------------------------------------------------


def test_batch_of_patients_has_a_gradient_row_for_each_and_every_weight_learns(name, codec):
    network, batch = network_and_patients(name, codec, 7)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = patient_gradients(network, batch, share_done=1.0)
    assert [tuple(one.shape) for one in gradients] == [(7, *weight.shape) for weight in weights]
    assert all(one.abs().sum() > 0 for one in gradients)


def test_gradient_of_a_patient_does_not_change_with_another(name, codec):
    network, batch = network_and_patients(name, codec, 6)
    changed = tuple(torch.cat([tensor[:2], tensor[:1], tensor[3:]]) for tensor in batch)
    others = torch.arange(6) != 2
    gradients = []
    for rows in (batch, changed):
        torch.manual_seed(1)
        gradients.append(patient_gradients(network, rows, share_done=0.5))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one[others], other[others])


def test_rows_of_a_batch_do_not_touch(name, codec):
    network, batch = network_and_patients(name, codec, 8)
    require_rows_apart(network, batch)


def test_one_row_stands_for_a_patient_however_many_there_are(name, monkeypatch):
    """The other rows of a patient are nowhere in what is trained on."""
    from ehr_pipeline.generators import private_adversaries, private_tier

    seen = {}

    def spy(network, data, steps, **rest):
        seen["n"] = len(data[0])

    for module in (private_tier, private_adversaries):
        monkeypatch.setattr(module, "train_privately", spy)
    fitted(name, public_cohort(300, rows_per_patient=3))
    assert seen["n"] == 100


# The plan and what is kept of it -------------------------------------------------------------------------------------


def test_plan_spends_the_budget_and_reads_no_patient(name):
    plan = generator_type(name).privacy_plan(public_schema(), quick(name), BUDGET)
    assert 0.98 < plan.accounted.epsilon <= 1.0
    names = [mechanism.name for mechanism in plan.mechanisms]
    assert names[0] == "histogram of each column"
    assert names[-1] == STEPS_NAME
    assert (MOMENTS_NAME in names) == (name == "tabular_gan")
    assert plan.mechanisms[-1].steps == 4


def test_fit_keeps_to_its_plan_and_leaves_no_losses(name, generator):
    assert generator.privacy == generator_type(name).privacy_plan(public_schema(), quick(name), BUDGET)
    assert generator.history == []
    assert 300 < generator.n_patients < 900


def test_private_fit_keeps_no_checkpoint(name, tmp_path):
    generator_type(name).fit(public_cohort(50), quick(name), BUDGET, checkpoint=tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_two_private_fits_with_one_seed_differ(name, generator):
    other = fitted(name, public_cohort(600))
    assert not generator.sample(300, seed=1).equals(other.sample(300, seed=1))


def test_private_model_is_saved_and_loaded_whole(name, generator, tmp_path):
    generator.save(tmp_path)
    loaded = generator_type(name).load(tmp_path)
    pd.testing.assert_frame_equal(generator.sample(200, 1), loaded.sample(200, 1))
    conditions = {"died": "1"}
    pd.testing.assert_frame_equal(generator.sample(50, 1, conditions), loaded.sample(50, 1, conditions))


def test_conditions_hold_in_every_row_of_a_private_model(generator):
    frame = generator.sample(50, seed=0, conditions={"died": "1", "age": 60})
    assert (frame["died"] == 1).all()
    assert (frame["age"] == 60).all()


@pytest.mark.parametrize("n", [1, 3])
def test_a_handful_of_patients_trains_and_batches_may_be_empty(name, n):
    assert len(fitted(name, public_cohort(n)).sample(20, seed=0)) == 20


def test_steps_are_short_where_patients_can_say_less_than_the_noise():
    config = quick("column_autoregressive")
    plan = private_plan(public_schema(), config, BUDGET)
    few, many = (private_steps(plan, config, 10.0, n).learning_rate for n in (10, 10**6))
    assert few < 0.1 * many
    assert many == config.private_learning_rate


def test_shares_that_leave_nothing_to_the_critic_are_refused_in_one_line():
    config = quick("tabular_gan", private_moments=0.9)
    with pytest.raises(OptionError, match="leave nothing"):
        generator_type("tabular_gan").privacy_plan(public_schema(), config, BUDGET)


def test_case_study_variant_has_no_private_tier():
    config = quick("tabular_vae", faithful=True)
    with pytest.raises(OptionError, match="no private tier"):
        generator_type("tabular_vae").privacy_plan(public_schema(), config, BUDGET)


# Networks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network_name", ["column_autoregressive", "tabular_vae", "tabular_diffusion"])
def test_heads_matched_to_the_noisy_shares_draw_them(network_name, codec):
    network, _ = network_and_patients(network_name, codec, 1)
    network.match_shares()
    generator = torch.Generator().manual_seed(5)
    if network_name == "tabular_diffusion":
        rng = np.random.default_rng(7)
        blocks = [
            network.reverse_process(network.mask.repeat(500, 1), rng.permutation(6).tolist(), generator)
            for _ in range(40)
        ]
        levels = torch.cat(blocks)
    elif network_name == "tabular_vae":
        levels, _ = network.draw(torch.randn(20_000, network.latent, generator=generator), generator)
    else:
        levels, _ = network.draw_columns(20_000, network.said_of, generator)
    for k, shares in enumerate(codec.level_shares):
        found = np.bincount(levels[:, k], minlength=len(shares)) / len(levels)
        # Orders other than those that were matched have shares a little off.
        assert np.abs(found - shares).max() < (0.08 if network_name == "tabular_diffusion" else 0.03)


@torch.no_grad()
def test_likelihood_of_levels_sums_to_one(codec):
    """Over all levels of the last column, given the others."""
    network, _ = network_and_patients("column_autoregressive", codec, 1)
    n = codec.n_levels[-1]
    row = example_levels(codec, torch.device("cpu"), 1)
    rows = row.repeat(n, 1)
    rows[:, -1] = torch.arange(n)
    rest = network.cross_entropy(network.said(network.embedded(row)), row)[0, :-1].sum()
    total = (rest - network.losses(rows, share_done=1.0)).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-4)


def test_vectors_apart_are_the_vectors(codec):
    layout = RowLayout.of(codec)
    choices, ranks = (torch.from_numpy(one) for one in layout.encoded(OneRowEach(public_cohort(200))))
    assert torch.equal(layout.vectors_apart(choices, ranks), layout.vectors(choices, ranks))


@torch.no_grad()
def test_no_layer_of_a_bound_critic_stretches(codec):
    network, _ = network_and_patients("tabular_gan", codec, 2)
    network.bound()
    norms = [
        float(torch.linalg.matrix_norm(layer.weight, ord=2))
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]
    assert max(norms[:1] + norms[2:]) <= 1 + 1e-4  # the second is what is given: nothing is, where patients are seen


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=1, max_size=5),
    longest=st.floats(1.0, 1e9),
)
def test_products_of_a_patient_are_never_longer_than_told(rows, longest):
    whole = clipped_to_grid(np.array(rows), longest)
    assert np.array_equal(whole, np.trunc(whole))
    for row in whole:
        assert np.linalg.norm(np.outer(row, row)[np.triu_indices(4)]) <= longest


def test_moments_with_hardly_any_noise_are_those_of_the_patients(codec):
    layout, n = RowLayout.of(codec), 2000
    data = data_tensors(torch.device("cpu"), *layout.encoded(OneRowEach(public_cohort(n, seed=2))))
    moments = NoisyMoments(layout, data, 1e-4, n)
    scaled = (layout.vectors(*data)[:, moments.entries] - moments.mean) / moments.scale
    products = torch.nn.functional.pad(scaled, (0, 1), value=1.0).T @ scaled / n
    assert (moments.wanted[0] - products).abs().max() < 0.3  # few long rows are clipped
    assert (moments.wanted[0] - products).abs().mean() < 0.02


# What is left of dependence ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_private_model_keeps_dependence_that_independent_columns_lose(name):
    """Correlations of the case study's columns at epsilon 1, 10,000 patients: a third of the null's error at most."""
    cohort = medicore_cohort(10_000)
    bounds = {"age": (18, 95), "bmi": (15, 55), "hba1c": (3.5, 14), "cholesterol": (100, 350)}
    bounds |= {"systolic_bp": (80, 220), "creatinine": (0.4, 5)}
    columns = tuple(
        column.model_copy(update={"missing": False} | _public(column.name, bounds)) for column in cohort.schema.columns
    )
    private = TrainingCohort(schema=Schema(columns=columns), table=cohort.table, subject_id=cohort.subject_id)
    generator = generator_type(name).fit(private, CONFIGS[name](device="cpu"), BUDGET)
    real, drawn = (_correlations(frame) for frame in (cohort.table, generator.sample(20_000, seed=0)))
    assert np.abs(drawn - real).mean() < np.abs(real).mean() / 3


def _public(column: str, bounds: dict[str, tuple[float, float]]) -> dict[str, object]:
    if column in bounds:
        return dict(zip(("minimum", "maximum"), bounds[column], strict=True))
    return {"levels": ("F", "M")} if column == "sex" else {}


def _correlations(frame: pd.DataFrame) -> np.ndarray:
    numbers = frame.assign(sex=(frame["sex"] == "M").astype(float)).astype(float)
    return np.corrcoef(numbers.to_numpy().T)[np.triu_indices(frame.shape[1], 1)]
