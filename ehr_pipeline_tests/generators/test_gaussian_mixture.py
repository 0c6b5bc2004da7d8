"""The mixture of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ehr_pipeline.generators.gaussian_mixture import FEWEST_PATIENTS, GaussianMixture, _features


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(points: torch.Tensor, n_components: int, points_per_patient: int = 1) -> GaussianMixture:
    return GaussianMixture.fit(points, torch.arange(len(points)) // points_per_patient, n_components, generator())


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
    mixture = fit(torch.from_numpy(np.vstack([first, second])), 2)
    drawn = mixture.sample(40_000, generator(1)).numpy()
    right = drawn[drawn[:, 0] > 1]
    assert len(right) / len(drawn) == pytest.approx(0.25, abs=0.02)
    assert np.corrcoef(drawn[drawn[:, 0] <= 1].T)[0, 1] == pytest.approx(0.8, abs=0.03)
    assert right[:, 1].std() == pytest.approx(np.sqrt(2), abs=0.1)


def test_no_component_sits_on_a_few_points():
    cloud = torch.randn(500, 2, generator=generator(), dtype=torch.float64)
    points = torch.cat([cloud, torch.tensor([[60.0, 60.0]], dtype=torch.float64)])
    mixture = fit(points, 8)
    assert 1 < len(mixture.weights) < 8
    assert (mixture.weights * len(points) >= FEWEST_PATIENTS).all()
    assert float(mixture.weights.sum()) == pytest.approx(1.0)
    single = fit(cloud[:20], 5)
    assert torch.allclose(single.means, cloud[:20].mean(0, keepdim=True))


def test_no_component_stands_for_a_few_patients_with_many_points():
    """2,000 points lie apart; whether they are a component depends on whether 2,000 patients have them, or ten."""
    cloud = torch.randn(4000, 2, generator=generator(), dtype=torch.float64)
    points = torch.cat([cloud, cloud[:2000] * 0.1 + 30])
    patients = torch.arange(len(points))
    of_many = GaussianMixture.fit(points, patients, 4, generator())
    patients[4000:] = 4000 + torch.arange(2000) % 10
    of_few = GaussianMixture.fit(points, patients, 4, generator())
    assert float(of_many.means.max()) > 25
    assert float(of_few.means.max()) < 5


@pytest.mark.parametrize("points", [torch.zeros(50, 4), torch.randn(3, 8, generator=generator()), torch.ones(1, 2)])
def test_degenerate_points_still_give_a_mixture(points):
    mixture = fit(points, 5)
    assert torch.isfinite(mixture.sample(100, generator())).all()


def test_units_of_the_points_do_not_matter():
    points = torch.randn(2000, 2, generator=generator(), dtype=torch.float64)
    scale = torch.tensor([1e4, 1e-4], dtype=torch.float64)
    plain = fit(points, 3).sample(50, generator(1))
    scaled = fit(points * scale, 3).sample(50, generator(1))
    assert torch.allclose(plain * scale, scaled, rtol=1e-6)
