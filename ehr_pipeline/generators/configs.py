"""The settings of the generators, each with a default and a description: what a form or a file may set.

What belongs here: every generator's config, apart from its code, so that reading them imports no torch
(Dagster's code location makes its forms of them). What does not: anything that trains.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ehr_pipeline.generators.base import GeneratorConfig


class IndependentConfig(GeneratorConfig):
    """Settings of `Independent`: none of its own; nothing is random in its fit."""


class PrivateTierConfig(GeneratorConfig):
    """What a generator that trains a network does within a budget: public settings, none of them looked up."""

    private_rate: float = Field(0.1, gt=0, lt=1, description="chance of each patient to take part in a private step")
    private_steps: int = Field(300, ge=1, description="private steps, always all of them")
    private_clip_norm: float = Field(
        1.0, gt=0, description="longest gradient of one patient, in units of what it is as the training starts"
    )
    private_learning_rate: float = Field(2e-2, gt=0, description="Adam's rate in the private training; falls to zero")
    private_histograms: float = Field(
        0.15, gt=0, lt=1, description="share of the budget that goes to the columns' histograms"
    )
    private_levels: int = Field(32, ge=2, description="about how many levels a column of numbers has in a private fit")


class TrainedConfig(PrivateTierConfig):
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
    private_hidden: int = Field(16, ge=1, description="width of encoder and decoder in a private fit")
    private_latent: int = Field(4, ge=1, le=64, description="latent dimensions in a private fit")
    faithful: bool = Field(False, description="the case study's own variant, with its known faults")


class ColumnAutoregressiveConfig(TrainedConfig):
    """Settings of `ColumnAutoregressive`."""

    updates: int = Field(4000, ge=1, description="gradient steps at most; most tables are done after some hundreds")
    learning_rate: float = Field(4e-3, gt=0, description="AdamW's rate for full batches; smaller ones take less")
    weight_decay: float = Field(0.5, ge=0, description="AdamW's pull of the weights towards zero")
    least_gain: float | None = Field(
        0.015, ge=0, description="loss per row, in nats, that two epochs must gain, else the rate begins to fall"
    )
    hidden: int = Field(48, ge=1, description="units in each of the two hidden layers of a column's head")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped in training")
    penalty: float = Field(
        0.085, ge=0, description="what a head pays for each column it reads, over the square root of the training rows"
    )
    correction: bool = Field(True, description="look for what drawn rows lack, and keep them accordingly")
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
    private_hidden: int = Field(24, ge=1, description="width of the network's hidden layer in a private fit")
    private_clip_norm: float = Field(
        2.0, gt=0, description="longest gradient of one patient, in units of what it is as the training starts"
    )


class TabularGANConfig(PrivateTierConfig):
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
    private_clip_norm: float = Field(1.0, gt=0, description="longest gradient of one patient in a private step")
    private_learning_rate: float = Field(2e-3, gt=0, description="Adam's rate for the critic in a private fit")
    private_moments: float = Field(
        0.4, gt=0, lt=1, description="share of the budget that goes to means and products of columns"
    )
    private_critic_hidden: int = Field(32, ge=1, description="width of the critic's hidden layers in a private fit")
    private_products: int = Field(16, ge=1, description="products that the critic reads in a private fit")
    private_generator_steps: int = Field(4, ge=1, description="steps of the generator for each private one")


class RecombinationConfig(GeneratorConfig):
    """Settings of `Recombination`: all public, none of them looked up."""

    mode: Literal["shuffle", "as_published"] = Field(
        "shuffle", description="shuffle keeps what it promises; as_published is the post's recipe, never for release"
    )
    blocks: tuple[tuple[str, ...], ...] = Field(
        (), description="columns that are reported together, so that what binds them survives; others report alone"
    )
    numbers: Literal["response", "laplace"] = Field(
        "response",
        description="noise of a column of numbers: a random response among its cells, or Laplace noise as wide as its "
        "range, which tells two to five times less of the column's shape",
    )
    epsilon0: float = Field(0.5, gt=0, le=20, description="of each block's report where there is no budget")
    reported_delta: float = Field(
        1e-6, gt=0, lt=1, description="chance that the figure in the centre fails, without a budget"
    )
    public_rows: int = Field(
        1000, ge=1, description="patients that are publicly known to be there at least; with a budget, more is better"
    )


class MarginalsConfig(GeneratorConfig):
    """Settings of `Marginals`: all public, none of them looked up."""

    cliques: tuple[tuple[str, ...], ...] = Field(
        (),
        description="columns, two to five, that a study needs together and that are always counted; without any, "
        "treatment and outcome with each of a few features",
    )
    levels: int = Field(32, ge=2, description="about how many levels a column of numbers has")
    pairs_per_column: int = Field(6, ge=0, description="pairs of columns counted, per column; all where that is enough")
    rounds: int = Field(3, ge=1, description="rounds in which pairs are chosen, where not all are counted")
    triples: int = Field(8, ge=0, description="three columns counted together, so many times, chosen last")
    histograms: float = Field(0.15, gt=0, lt=1, description="share of the budget of counts for the columns' histograms")
    selection: float = Field(0.05, gt=0, lt=1, description="share of the budget for choosing what to count")
    rows: int = Field(12_000, ge=2000, description="drawn rows, at most, that the model is fitted over")

    @field_validator("cliques")
    @classmethod
    def _cliques_are_of_a_few_columns(cls, cliques: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if any(len(set(clique)) != len(clique) or not 2 <= len(clique) <= 5 for clique in cliques):
            raise ValueError("each of cliques must be two to five distinct columns")
        return cliques


class TimelineMarkovConfig(GeneratorConfig):
    """Settings of `TimelineMarkov`; nothing is random in its fit."""

    gap_levels: int = Field(64, ge=2, description="about how many levels a time gap has")
    value_levels: int = Field(32, ge=2, description="about how many levels the values of a code have")
    events_per_patient: int = Field(
        20_000, ge=1, description="timed events of one patient that are learned from, the first ones"
    )
    private_events: int = Field(
        2_000, ge=1, description="events of one patient that a private fit reads, the first ones, and draws at most"
    )
    private_codes: int = Field(200, ge=1, description="codes at most that a private fit counts")


class EHRSafeConfig(GeneratorConfig):
    """Settings of `EHRSafe`."""

    exact_values: bool = Field(
        False, description="give numbers back exactly as in the paper, those of single patients too; never for release"
    )
    updates: int = Field(1200, ge=1, description="gradient steps of the record autoencoder at most")
    batch_rows: int = Field(48, ge=1, description="patients per step of the record autoencoder")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW's rate for the autoencoders; falls to zero as a cosine")
    hidden: int = Field(256, ge=2, description="width of the decoder's layers")
    latent: int = Field(64, ge=2, description="numbers in the embedding of a record")
    latent_noise: float = Field(0.8, ge=0, description="standard deviation of the noise on embeddings of variance 1")
    stamps_weight: float = Field(16.0, gt=0, description="weight of one mean time stamp beside the rest of a record")
    category_updates: int = Field(600, ge=1, description="gradient steps of each categorical autoencoder at most")
    gan_updates: int = Field(1200, ge=1, description="steps of the generator of embeddings")
    gan_batch_rows: int = Field(256, ge=2, description="embeddings per step, drawn with replacement")
    gan_learning_rate: float = Field(1e-3, gt=0, description="AdamW's rate for critic and generator of embeddings")
    gan_hidden: int = Field(256, ge=1, description="width of the two hidden layers of critic and generator")
    penalty: float = Field(10.0, ge=0, description="weight of the critic's gradient penalty")
    gap_levels: int = Field(64, ge=2, description="about how many levels a time gap has")
    events_per_patient: int = Field(
        20_000, ge=1, description="timed events of one patient that are learned from, the first ones"
    )


class TimelineTransformerConfig(TrainedConfig):
    """Settings of `TimelineTransformer`."""

    updates: int = Field(20_000, ge=1, description="gradient steps at most")
    plan_updates: int = Field(4000, ge=1, description="gradient steps at most in the training of the plans' table")
    passes: int = Field(5, ge=1, description="passes over the training events; small files get more")
    gap_rounds: int = Field(
        4, ge=0, description="times that stays are drawn after the training, to make their gaps as common as real ones"
    )
    batch_events: int = Field(8192, ge=1, description="events per gradient step, padding included")
    accumulate: int = Field(1, ge=1, description="parts in which a step is computed, so that it fits a small memory")
    learning_rate: float = Field(3e-3, gt=0, description="AdamW's rate after the warm-up; falls as a cosine")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's pull of the weights towards zero")
    validation_share: float = Field(0.05, gt=0, lt=0.5, description="share of patients held back for validation")
    width: int = Field(96, ge=2, description="width of the transformer; a multiple of twice the heads")
    layers: int = Field(2, ge=1, description="blocks of the transformer")
    heads: int = Field(4, ge=1, description="heads of attention")
    hidden: int = Field(96, ge=1, description="units of the layers that draw gaps and values")
    window: int = Field(64, ge=1, description="events per block of attention; each sees its block and the one before")
    piece: int = Field(512, ge=1, description="events that are trained on at a time; longer timelines are cut")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of what a block adds that is dropped in training")
    plan_noise: float = Field(
        0.0, ge=0, description="noise on the features of the plan in training, in their standard deviations"
    )
    gap_levels: int = Field(64, ge=2, description="about how many levels a time gap has")
    value_levels: int = Field(32, ge=2, description="about how many levels the values of a code have")
    events_per_patient: int = Field(
        20_000, ge=1, description="timed events of one patient that are learned from, the first ones"
    )
    private_rate: float = Field(0.05, gt=0, lt=1, description="chance of each patient to take part in a private step")
    private_learning_rate: float = Field(5e-3, gt=0, description="Adam's rate in the private training; falls to zero")
    private_steps: int = Field(60, ge=1, description="private steps, always all of them")
    private_events: int = Field(
        2_000, ge=1, description="events of one patient that a private fit counts, the first ones"
    )
    private_positions: int = Field(
        512, ge=1, description="events of one patient that private steps read, the first ones"
    )
    private_codes: int = Field(200, ge=1, description="codes at most that a private fit counts")
    private_guide: int = Field(
        1_000, ge=100, description="stays drawn from noisy tables that a private fit starts from"
    )
    private_width: int = Field(
        32, ge=2, description="width of the transformer in a private fit; a multiple of twice the heads"
    )
