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
    least_gain: float | None = Field(
        None,
        ge=0,
        description="loss per row that two epochs must gain, else the rate begins to fall; without it, it falls from "
        "the start as a cosine",
    )
    patience: int = Field(6, ge=1, description="epochs without a better validation loss before training stops")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of patients held back for validation")


class TabularVAEConfig(TrainedConfig):
    """Settings of `TabularVAE`."""

    updates: int = Field(1000, ge=1, description="gradient steps at most; large tables get two passes at least")
    hidden: int = Field(128, ge=1, description="width of the two hidden layers of encoder and decoder")
    latent: int = Field(12, ge=1, le=64, description="latent dimensions")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of hidden units dropped in training")
    beta: float = Field(
        1.0, gt=0, description="weight of the KL term; the lower, the more the latent tells of each patient"
    )
    components: int = Field(64, ge=1, description="Gaussians in the latent mixture at most; small tables get fewer")
    levels: int = Field(32, ge=2, description="about how many levels a column of numbers has")
    faithful: bool = Field(False, description="the case study's own variant, with its known faults")


class ColumnAutoregressiveConfig(TrainedConfig):
    """Settings of `ColumnAutoregressive`."""

    updates: int = Field(4000, ge=1, description="gradient steps at most; most tables are done after some hundreds")
    learning_rate: float = Field(4e-3, gt=0, description="AdamW's rate for full batches; smaller ones take less")
    weight_decay: float = Field(0.5, ge=0, description="AdamW's pull of the weights towards zero")
    least_gain: float | None = Field(
        0.015, ge=0, description="loss per row, in nats, that two epochs must gain, else the rate begins to fall"
    )
    hidden: int = Field(40, ge=1, description="units in each of the two hidden layers of a column's head")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped in training")
    levels: int = Field(64, ge=2, description="about how many levels a column of numbers has")


class TabularDiffusionConfig(TrainedConfig):
    """Settings of `TabularDiffusion`."""

    updates: int = Field(3000, ge=1, description="gradient steps at most; large tables get two passes at least")
    passes: int = Field(30, ge=1, description="passes over the training rows at most")
    patience: int = Field(40, ge=1, description="epochs without a better validation loss before training stops")
    hidden: int = Field(256, ge=1, description="width of the network")
    blocks: int = Field(2, ge=0, description="residual blocks of two layers each")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped in training")
    levels: int = Field(64, ge=2, description="about how many levels a column of numbers has")


class TabularGANConfig(GeneratorConfig):
    """Settings of `TabularGAN`."""

    updates: int = Field(1500, ge=1, description="steps of critic and generator; large tables get more, small fewer")
    batch_rows: int = Field(512, ge=1, description="rows per step, drawn with replacement; small tables take fewer")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's rate for the generator; falls to zero as a cosine")
    critic_rate: float = Field(2e-3, gt=0, description="AdamW's rate for the critic; falls likewise")
    clip_norm: float = Field(1.0, gt=0, description="longest gradient of the generator, over all its weights")
    hidden: int = Field(128, ge=1, description="width of what the generator remembers of a row as it draws it")
    head: int = Field(64, ge=1, description="width of the two hidden layers that draw a block of columns")
    latent: int = Field(16, ge=1, description="numbers of noise that all columns of a row share")
    critic_hidden: int = Field(256, ge=1, description="width of the critic's two hidden layers")
    products: int = Field(64, ge=1, description="products of mixed columns that the critic reads")
    penalty: float = Field(10.0, ge=0, description="weight of the critic's gradient penalty")
    moments: float = Field(3.0, ge=0, description="weight of the match of means and products of columns")
    conditioned_share: float = Field(0.25, ge=0, lt=1, description="share of a batch with one column given")
    levels: int = Field(96, ge=2, description="about how many levels a column of numbers has")
