"""The mixture of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ehr_pipeline.generators.gaussian_mixture import FEWEST_POINTS, GaussianMixture, _features


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_log_density_is_that_of_the_slow_formula():
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(size=(7, 3)))
    factors = torch.from_numpy(np.linalg.cholesky(np.stack([a @ a.T + np.eye(3) for a in rng.normal(size=(2, 3, 3))])))
    mixture = GaussianMixture(
        weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
        means=torch.from_numpy(rng.normal(size=(2, 3))),
        factors=factors,
    )
    fast = _features(points) @ mixture._coefficients().T
    for k in range(2):
        covariance = (factors[k] @ factors[k].T).numpy()
        slow = np.log(float(mixture.weights[k])) + multivariate_normal(mixture.means[k].numpy(), covariance).logpdf(
            points.numpy()
        )
        assert np.allclose(fast[:, k].numpy(), slow)


def test_two_clusters_are_found_and_drawn():
    rng = np.random.default_rng(0)
    first = rng.multivariate_normal([-3, 0], [[1, 0.8], [0.8, 1]], 3000)
    second = rng.multivariate_normal([4, 1], [[0.2, 0], [0, 2]], 1000)
    mixture = GaussianMixture.fit(torch.from_numpy(np.vstack([first, second])), 2, generator())
    drawn = mixture.sample(40_000, generator(1)).numpy()
    right = drawn[drawn[:, 0] > 1]
    assert len(right) / len(drawn) == pytest.approx(0.25, abs=0.02)
    assert np.corrcoef(drawn[drawn[:, 0] <= 1].T)[0, 1] == pytest.approx(0.8, abs=0.03)
    assert right[:, 1].std() == pytest.approx(np.sqrt(2), abs=0.1)


def test_no_component_sits_on_a_few_points():
    cloud = torch.randn(500, 2, generator=generator(), dtype=torch.float64)
    points = torch.cat([cloud, torch.tensor([[60.0, 60.0]], dtype=torch.float64)])
    mixture = GaussianMixture.fit(points, 8, generator())
    assert 1 < len(mixture.weights) < 8
    assert (mixture.weights * len(points) >= FEWEST_POINTS).all()
    assert float(mixture.weights.sum()) == pytest.approx(1.0)
    single = GaussianMixture.fit(cloud[:20], 5, generator())
    assert torch.allclose(single.means, cloud[:20].mean(0, keepdim=True))


@pytest.mark.parametrize("points", [torch.zeros(50, 4), torch.randn(3, 8, generator=generator()), torch.ones(1, 2)])
def test_degenerate_points_still_give_a_mixture(points):
    mixture = GaussianMixture.fit(points, 5, generator())
    assert torch.isfinite(mixture.sample(100, generator())).all()


def test_units_of_the_points_do_not_matter():
    points = torch.randn(2000, 2, generator=generator(), dtype=torch.float64)
    scale = torch.tensor([1e4, 1e-4], dtype=torch.float64)
    plain = GaussianMixture.fit(points, 3, generator()).sample(50, generator(1))
    scaled = GaussianMixture.fit(points * scale, 3, generator()).sample(50, generator(1))
    assert torch.allclose(plain * scale, scaled, rtol=1e-6)
