import numpy as np
import pytest
import torch
from torch import Tensor

from ehr_pipeline.generators.registry import generator_type
from ehr_pipeline.generators.row_scores import N_DRAWS, row_scores
from ehr_pipeline.generators.training import Network
from ehr_pipeline_tests.generators.tables import mixed_cohort


class NoisyPlaces(Network):
    """A loss that depends on noise and, like a diffusion's, on a row's place in the batch."""

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        assert share_done == 1.0
        return levels[:, 0] + torch.arange(len(levels)) / len(levels) + 0.1 * torch.randn(len(levels))


def test_scores_average_over_noise_and_over_places():
    levels = torch.zeros(4000, 1)
    scores = row_scores(NoisyPlaces(), (levels,))
    assert scores.shape == (4000,)
    assert scores.mean() == pytest.approx(-0.5, abs=0.01)
    # uniform places have variance 1/12, the noise 0.01; both over N_DRAWS draws
    assert scores.var() == pytest.approx((1 / 12 + 0.01) / N_DRAWS, rel=0.2)
    assert abs(np.corrcoef(scores, np.arange(4000))[0, 1]) < 0.1
    assert np.array_equal(scores, row_scores(NoisyPlaces(), (levels,)))


@pytest.mark.parametrize("name", ["column_autoregressive", "tabular_vae", "tabular_diffusion", "tabular_gan"])
def test_a_generator_scores_every_row_the_same_after_loading(name, tmp_path):
    cohort = mixed_cohort(200)
    config = generator_type(name).config_type(updates=20, device="cpu")
    generator = generator_type(name).fit(cohort, config)
    generator.save(tmp_path)
    scores = generator.scores(cohort.table)
    assert scores.shape == (200,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert scores.std() > 0
    assert generator_type(name).load(tmp_path).scores(cohort.table) == pytest.approx(scores, rel=1e-4)
