"""A mixture of Gaussians with full covariances, fitted by EM: what a latent space really looks like.

What belongs here: the mixture, its fit and its draws. What does not: whose latents they are.

A log-density of a Gaussian is linear in (1, z, z z'), so that the E-step and the M-step are one matrix product
each with those features: expectation for all components at once, in bounded memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

BLOCK_ROWS = 16_384
FEWEST_PATIENTS = 25.0
"""A component that fewer patients share is dropped: it would tell where a few of them lie."""


@dataclass(frozen=True, kw_only=True)
class GaussianMixture:
    """Attributes are float64 tensors: weights (k,), means (k, d), and lower factors of covariances (k, d, d)."""

    weights: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def standard(cls, d: int, device: torch.device) -> Self:
        """The standard normal distribution in d dimensions."""
        one = torch.eye(d, dtype=torch.float64, device=device)
        return cls(weights=one.new_ones(1), means=one.new_zeros(1, d), factors=one[None])

    @classmethod
    def fit(
        cls,
        points: Tensor,
        patients: Tensor,
        n_components: int,
        generator: torch.Generator,
        *,
        n_steps: int = 60,
        tolerance: float = 1e-3,
    ) -> Self:
        """Expectation-maximisation from components spread over random points; then light components are dropped.

        Parameters
        ----------
        points
            Float tensor of shape (n, d).
        patients
            Whose each point is, from 0 on: int64 of shape (n,).
        n_components
            Components at most. Each that stays is shared by `FEWEST_PATIENTS` patients or more, however many points
            each has; if none is, one component is fitted to all points.
        tolerance
            Stop once the mean log-likelihood rises by less than this in a step.
        """
        points = points.double()
        n, d = points.shape
        centre, scale = points.mean(0), points.std(0, correction=0).clamp_min(1e-6)
        points = (points - centre) / scale
        features = _features(points)
        # A spherical prior of d + 1 points keeps a small component's covariance regular; it adds no weight.
        prior = 0.05 * torch.eye(d, dtype=torch.float64, device=points.device)
        chosen = torch.randperm(n, generator=generator, device=points.device)[:n_components]
        mixture = cls(
            weights=torch.full((len(chosen),), 1 / len(chosen), dtype=torch.float64, device=points.device),
            means=points[chosen],
            factors=torch.eye(d, dtype=torch.float64, device=points.device).expand(len(chosen), d, d) * 0.5,
        )
        before = -math.inf
        for _ in range(n_steps):
            sums, log_likelihood = mixture._expect(features)
            mixture = cls._maximise(sums, n, d, prior)
            if log_likelihood - before < tolerance:
                break
            before = log_likelihood
        stays = mixture._shared_by(features, patients) >= FEWEST_PATIENTS
        if stays.any():
            weights = mixture.weights[stays] / mixture.weights[stays].sum()
            mixture = cls(weights=weights, means=mixture.means[stays], factors=mixture.factors[stays])
        else:
            mixture = cls._maximise(features.sum(0, keepdim=True), n, d, prior)
        return cls(
            weights=mixture.weights, means=mixture.means * scale + centre, factors=mixture.factors * scale[:, None]
        )

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` points, float64 of shape (n, d)."""
        component = torch.multinomial(self.weights, max(1, n), replacement=True, generator=generator)[:n]
        noise = torch.randn(
            n, self.means.shape[1], 1, dtype=torch.float64, device=self.means.device, generator=generator
        )
        return self.means[component] + (self.factors[component] @ noise).squeeze(-1)

    def _expect(self, features: Tensor) -> tuple[Tensor, float]:
        """Sums of the features by responsibility, (k, n_features), and the mean log-likelihood."""
        coefficients = self._coefficients()
        sums = torch.zeros_like(coefficients)
        total = 0.0
        for block in features.split(BLOCK_ROWS):
            log_density = block @ coefficients.T
            log_sum = torch.logsumexp(log_density, dim=1, keepdim=True)
            sums += (log_density - log_sum).exp().T @ block
            total += float(log_sum.sum())
        return sums, total / len(features)

    def _shared_by(self, features: Tensor, patients: Tensor) -> Tensor:
        """Patients that each component stands for, float64 of shape (k,): each counts once at most."""
        coefficients = self._coefficients()
        share = features.new_zeros(int(patients.max()) + 1, len(coefficients))
        for block, whose in zip(features.split(BLOCK_ROWS), patients.split(BLOCK_ROWS), strict=True):
            share.index_add_(0, whose, (block @ coefficients.T).softmax(dim=1))
        return share.clamp_max_(1.0).sum(0)

    def _coefficients(self) -> Tensor:
        """The log-density of each component as a linear form of the features, (k, n_features)."""
        d = self.means.shape[1]
        precision = torch.cholesky_inverse(self.factors)
        shift = (precision @ self.means[:, :, None]).squeeze(-1)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.weights.clamp_min(1e-300).log() - log_det - 0.5 * d * math.log(2 * math.pi)
        constant = constant - 0.5 * (self.means * shift).sum(1)
        row, column = torch.tril_indices(d, d, device=self.means.device)
        quadratic = torch.where(row == column, -0.5, -1.0) * precision[:, row, column]
        return torch.cat([constant[:, None], shift, quadratic], dim=1)

    @classmethod
    def _maximise(cls, sums: Tensor, n: int, d: int, prior: Tensor) -> Self:
        mass = sums[:, 0].clamp_min(1e-8)
        means = sums[:, 1 : d + 1] / mass[:, None]
        row, column = torch.tril_indices(d, d, device=sums.device)
        second = sums.new_zeros(len(sums), d, d)
        second[:, row, column] = sums[:, d + 1 :]
        second[:, column, row] = sums[:, d + 1 :]
        scatter = second - mass[:, None, None] * means[:, :, None] * means[:, None, :]
        covariance = (scatter + (d + 1) * prior) / (mass + d + 1)[:, None, None]
        jitter = 1e-6 * torch.eye(d, dtype=sums.dtype, device=sums.device)
        return cls(weights=mass / mass.sum(), means=means, factors=torch.linalg.cholesky(covariance + jitter))


def _features(points: Tensor) -> Tensor:
    """(1, z, and z z' below the diagonal): float64 of shape (n, 1 + d + d (d + 1) / 2)."""
    n, d = points.shape
    row, column = torch.tril_indices(d, d, device=points.device)
    return torch.cat([points.new_ones(n, 1), points, points[:, row] * points[:, column]], dim=1)
