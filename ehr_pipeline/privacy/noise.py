"""The only source of noise on counts and choices: OpenDP, whose samplers are exact where floating point leaks.

What belongs here: noisy counts, noisy choices, thin over OpenDP. What does not: the noise of gradients (`training.py`),
budgets. Nothing here takes a seed: who knows the noise knows the patients.
"""

from __future__ import annotations

import math
import os

import numpy as np
import opendp.prelude as dp

from ehr_pipeline.errors import CheckFailed

FEATURES = ("contrib",)
"""What OpenDP wants said out loud before it lends its constructors."""


def noisy_counts(counts: np.ndarray, noise_multiplier: float, *, sensitivity: float = 1.0) -> np.ndarray:
    """Counts with discrete Gaussian noise: integers of any shape to int64 of the same shape.

    One patient changes `counts` by at most `sensitivity` (Euclidean norm); the noise has the scale
    `noise_multiplier * sensitivity` (Canonne, Kamath, Steinke 2020). A discrete Gaussian of scale sigma has at most
    the Renyi divergences of the continuous one, to whose account it is put.
    """
    dp.enable_features(*FEATURES)
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    measurement = dp.m.make_gaussian(*space, scale=noise_multiplier * sensitivity)
    wanted = 1 / (2 * noise_multiplier**2)
    if measurement.map(sensitivity) > wanted * (1 + 1e-6):
        raise CheckFailed("OpenDP's Gaussian spends more than it should")
    flat = np.ascontiguousarray(counts, dtype=np.int64).ravel()
    return np.array(measurement(flat.tolist()), dtype=np.int64).reshape(np.shape(counts))


def noisy_choice(scores: np.ndarray, epsilon: float, *, sensitivity: float) -> int:
    """The index of about the highest score: float of shape (n,), epsilon-private.

    One patient changes each score by at most `sensitivity`. OpenDP's noisy max adds exponential noise to the scores and
    takes the largest (permute-and-flip, McKenna and Sheldon 2020): as private as the exponential mechanism, and never
    worse at finding the best.
    """
    dp.enable_features(*FEATURES)
    space = dp.vector_domain(dp.atom_domain(T="f64", nan=False)), dp.linf_distance(T="f64")
    measurement = dp.m.make_noisy_max(*space, dp.max_divergence(), scale=2 * sensitivity / epsilon)
    if measurement.map(sensitivity) > epsilon * (1 + 1e-6):
        raise CheckFailed("OpenDP's noisy maximum spends more than it should")
    return int(measurement([float(score) for score in scores]))


def noisy_numbers(values: np.ndarray, scale: float) -> np.ndarray:
    """Whole numbers with discrete Laplace noise of `scale`, each by itself: int64 of shape (n,)."""
    dp.enable_features(*FEATURES)
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    measurement = dp.m.make_laplace(*space, scale=scale)
    return np.array(measurement(np.asarray(values, dtype=np.int64).tolist()), dtype=np.int64)


def randomised_response(levels: np.ndarray, n_levels: int, epsilon: float) -> np.ndarray:
    """Each level kept, or replaced by any other: int64 of shape (n,), each epsilon-private by itself.

    A level stays with probability e^epsilon / (e^epsilon + n_levels - 1) (k-ary randomised response, Kairouz,
    Bonawitz, Ramage 2016). Which are redrawn, evenly from all levels and so perhaps as they were, OpenDP's random bits
    say; what they become, the operating system's.
    """
    dp.enable_features(*FEATURES)
    if n_levels < 2:
        return np.zeros(len(levels), dtype=np.int64)
    others = math.exp(epsilon) + n_levels - 1
    measurement = dp.m.make_randomized_response(list(range(n_levels)), prob=math.exp(epsilon) / others)
    if measurement.map(1) > epsilon * (1 + 1e-6):
        raise CheckFailed("OpenDP's randomised response spends more than it should")
    is_redrawn = _random_bits(len(levels), n_levels / others)
    return np.where(is_redrawn, _even_levels(len(levels), n_levels), levels).astype(np.int64)


def _random_bits(n: int, chance: float) -> np.ndarray:
    """Independent bits that are true with `chance`: bool of shape (n,), by OpenDP's exact Bernoulli sampler."""
    if chance > 0.5:  # its flips stop there
        return ~_random_bits(n, 1 - chance)
    space = dp.bitvector_domain(max_weight=n), dp.discrete_distance()
    flips = dp.m.make_randomized_response_bitvec(*space, f=2 * chance)
    drawn = np.frombuffer(flips(bytes(-(-n // 8))), dtype=np.uint8)
    return np.unpackbits(drawn)[:n].astype(bool)


def _even_levels(n: int, n_levels: int) -> np.ndarray:
    """Levels drawn evenly from the operating system's entropy: int64 of shape (n,), no level favoured by a bit."""
    highest = np.uint64(2**64 // n_levels * n_levels - 1)
    drawn = np.frombuffer(os.urandom(8 * n), dtype=np.uint64)
    while (is_over := drawn > highest).any():
        drawn = np.where(is_over, np.frombuffer(os.urandom(8 * n), dtype=np.uint64), drawn)
    return (drawn % np.uint64(n_levels)).astype(np.int64)
