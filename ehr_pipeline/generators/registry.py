"""The generators by name: one line here, and a generator has its assets, its row in the report, its tests.

What belongs here: names, titles, and where the class is. What does not: importing any of them before it is
asked for (torch takes seconds, and Dagster's code location reads this file).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators import configs
from ehr_pipeline.generators.base import Generator, GeneratorConfig
from ehr_pipeline.generators.timelines import TimelineGenerator

STRONG_PRIVACY = 1.0
"""Up to this epsilon, noisy marginals leave more of a table than a network that learns from noisy gradients."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One generator.

    Attributes
    ----------
    title
        How the report and the UI name it.
    path
        `module:Class`, imported when first used.
    config_type
        Its settings, there without importing it.
    by_default
        Whether it runs when no generator is named.
    """

    title: str
    path: str
    config_type: type[GeneratorConfig]
    by_default: bool


GENERATORS: dict[str, Entry] = {
    "independent": Entry(
        title="Independent columns",
        path="ehr_pipeline.generators.independent:Independent",
        config_type=configs.IndependentConfig,
        by_default=True,
    ),
    "tabular_vae": Entry(
        title="Variational autoencoder",
        path="ehr_pipeline.generators.tabular_vae:TabularVAE",
        config_type=configs.TabularVAEConfig,
        by_default=True,
    ),
    "tabular_gan": Entry(
        title="Generative adversarial network",
        path="ehr_pipeline.generators.tabular_gan:TabularGAN",
        config_type=configs.TabularGANConfig,
        by_default=False,
    ),
    "tabular_diffusion": Entry(
        title="Diffusion",
        path="ehr_pipeline.generators.tabular_diffusion:TabularDiffusion",
        config_type=configs.TabularDiffusionConfig,
        by_default=False,
    ),
    "column_autoregressive": Entry(
        title="Column by column",
        path="ehr_pipeline.generators.column_autoregressive:ColumnAutoregressive",
        config_type=configs.ColumnAutoregressiveConfig,
        by_default=True,
    ),
    "marginals": Entry(
        title="Noisy marginals",
        path="ehr_pipeline.generators.marginals:Marginals",
        config_type=configs.MarginalsConfig,
        by_default=False,
    ),
    "recombination": Entry(
        title="Recombined reports",
        path="ehr_pipeline.generators.recombination:Recombination",
        config_type=configs.RecombinationConfig,
        by_default=False,
    ),
}
"""Those that make tables: one row per patient."""

TIMELINE_GENERATORS: dict[str, Entry] = {
    "timeline_transformer": Entry(
        title="Timeline transformer",
        path="ehr_pipeline.generators.timeline_transformer:TimelineTransformer",
        config_type=configs.TimelineTransformerConfig,
        by_default=True,
    ),
    "timeline_markov": Entry(
        title="Markov timelines",
        path="ehr_pipeline.generators.timeline_markov:TimelineMarkov",
        config_type=configs.TimelineMarkovConfig,
        by_default=True,
    ),
    "ehr_safe": Entry(
        title="EHR-Safe",
        path="ehr_pipeline.generators.ehr_safe:EHRSafe",
        config_type=configs.EHRSafeConfig,
        by_default=False,
    ),
}
"""Those that make timelines: many events per patient."""


def entry_of(name: str) -> Entry:
    """The entry of a generator of either kind; KeyError if there is none."""
    return GENERATORS[name] if name in GENERATORS else TIMELINE_GENERATORS[name]


def default_generators() -> list[str]:
    """Names of the generators that run when none is named, in order."""
    return [name for name, entry in GENERATORS.items() if entry.by_default]


def default_generator(epsilon: float | None = None) -> str:
    """The generator of a single model where none is named: marginals where the budget is small."""
    return "marginals" if epsilon is not None and epsilon <= STRONG_PRIVACY else "column_autoregressive"


def default_timeline_generator() -> str:
    """The generator of timelines where none is named."""
    return next(name for name, entry in TIMELINE_GENERATORS.items() if entry.by_default)


def generator_type(name: str) -> type[Generator]:
    """The class of the generator `name`, imported now.

    Raises
    ------
    OptionError
        There is no such generator; the message lists those that there are.
    """
    return _imported(name, GENERATORS)


def timeline_generator_type(name: str) -> type[TimelineGenerator]:
    """The class of the generator of timelines `name`, imported now.

    Raises
    ------
    OptionError
        There is no such generator; the message lists those that there are.
    """
    return _imported(name, TIMELINE_GENERATORS)


def _imported(name: str, generators: dict[str, Entry]) -> type:
    if name not in generators:
        kind = "tables" if generators is GENERATORS else "timelines"
        raise OptionError(f"there is no generator {name!r} of {kind}; there are {', '.join(generators)}")
    module, _, class_name = generators[name].path.partition(":")
    return getattr(importlib.import_module(module), class_name)
