"""Where the simulated hospitals differ: size, mix of cases, laboratory offsets, zeal in measuring.

What belongs here: one set of small differences per site. They never touch the case study's columns, whose
equations hold at each site alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.simulate import catalogue


@dataclass(frozen=True, kw_only=True)
class Sites:
    """One row per site.

    Attributes
    ----------
    names
        Object array of shape (n_sites,): "001", "002", ...
    share
        float64 (n_sites,): share of the patients.
    severity_shift
        float64 (n_sites,): added to the latent severity.
    measuring_log_odds
        float64 (n_sites,): added to the log-odds that something is measured.
    reason_factor
        float64 (n_sites, n_reasons): factor on the weight of each reason to come.
    laboratory_offset
        float64 (n_sites, n_items): in standard deviations of each laboratory item.
    """

    names: np.ndarray
    share: np.ndarray
    severity_shift: np.ndarray
    measuring_log_odds: np.ndarray
    reason_factor: np.ndarray
    laboratory_offset: np.ndarray


def draw_sites(n_sites: int, rng: np.random.Generator) -> Sites:
    """The sites; with one site there is nothing to differ from, so all differences are nil."""
    spread = 0.0 if n_sites == 1 else 1.0
    n_reasons, n_items = len(catalogue.reasons()), len(catalogue.laboratory())
    size = np.exp(rng.normal(0, 0.4, n_sites))
    return Sites(
        names=np.array([f"{number:03d}" for number in range(1, n_sites + 1)], dtype=object),
        share=size / size.sum(),
        severity_shift=spread * rng.normal(0, 0.15, n_sites),
        measuring_log_odds=spread * rng.normal(0, 0.25, n_sites),
        reason_factor=np.exp(spread * rng.normal(0, 0.25, (n_sites, n_reasons))),
        laboratory_offset=spread * rng.normal(0, 0.12, (n_sites, n_items)),
    )
