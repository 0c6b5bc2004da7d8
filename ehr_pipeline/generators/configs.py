"""The settings of the generators, each with a default and a description: what a form or a file may set.

What belongs here: every generator's config, apart from its code, so that reading them imports no torch
(Dagster's code location makes its forms of them). What does not: anything that trains.
"""

from __future__ import annotations

from pydantic import Field

from ehr_pipeline.generators.base import GeneratorConfig


class IndependentConfig(GeneratorConfig):
    """Settings of `Independent`: none of its own; nothing is random in its fit."""


class TrainedConfig(GeneratorConfig):
    """Settings of every generator that trains a network by `train_network`."""

    updates: int = Field(3000, ge=1, description="gradient steps at most; large tables get two passes at least")
    batch_rows: int = Field(512, ge=1, description="rows per gradient step; small tables take fewer")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW's rate at the start; falls to zero as a cosine")
    weight_decay: float = Field(1e-3, ge=0, description="AdamW's pull of the weights towards zero")
    clip_norm: float = Field(1.0, gt=0, description="longest gradient, as an Euclidean norm over all weights")
    patience: int = Field(6, ge=1, description="epochs without a better validation loss before training stops")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of patients held back for validation")


class TabularVAEConfig(TrainedConfig):
    """Settings of `TabularVAE`."""

    hidden: int = Field(128, ge=1, description="width of the two hidden layers of encoder and decoder")
    latent: int = Field(12, ge=1, le=64, description="latent dimensions")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of hidden units dropped in training")
    beta: float = Field(
        0.3,
        gt=0,
        description="weight of the KL term from 50,000 rows on; below 1 keeps weak effects. "
        "On smaller tables more, up to 1, so that less is said of each patient",
    )
    components: int = Field(64, ge=1, description="Gaussians in the latent mixture at most; small tables get fewer")
    levels: int = Field(32, ge=2, description="about how many levels a column of numbers has")
    faithful: bool = Field(False, description="the case study's own variant, with its known faults")
