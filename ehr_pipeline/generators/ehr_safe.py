"""EHR-Safe: records through an encoder to embeddings, a GAN on these (Yoon et al. 2023, npj Digital Medicine 6:141).

1. Records: static numbers and categories, numbers and categories over time, times, each with its mask
   (`record_layout.py`, `record_arrays.py`, `static_columns.py`).
2. Numbers to the uniform and back (`stochastic_normalisation.py`), read by networks as standard normal ones.
3. Categorical encoder-decoders of static and of timed categories, each trained by itself (`category_autoencoder.py`).
4. Encoder and decoder of the whole record (`record_autoencoder.py`; its decoder in `plan_decoder.py` and
   `stamp_decoder.py`), trained with 3 as it is.
5. WGAN-GP on the embeddings of 4 (`latent_gan.py`).
6. Noise through generator and decoder; masks, categories and units restored (`record_events.py`).

# NOTE[DIFF] Numbers of fewer than `MINIMUM_PATIENTS` patients are generalised; `exact_values` is the paper's own way.
# NOTE[DIFF] Decoders give likelihoods and are drawn from; the paper's give points (squared error) and thresholds. Masks
#   keep their shares so, and gaps their spread. What holds for a whole record is drawn first: which codes occur, how
#   often and at which level, and how it ends.
# NOTE[DIFF] Codes beyond `record_layout.MOST_FEATURES` are presence sets in the categorical encoder-decoder; their
#   values are drawn by code and the value before (`event_values.py`), not from the embedding.
# NOTE[DIFF] Conditions on static facts: embeddings are drawn by how likely they make them, then the facts are set.

Memory: the records (about 25 bytes per feature and time stamp), and a block of patients in the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.generators.category_autoencoder import CategoryAutoencoder, Tokens
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.configs import EHRSafeConfig, TrainedConfig
from ehr_pipeline.generators.event_values import EventValues
from ehr_pipeline.generators.latent_gan import LatentGAN, train_latent_gan
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.plan_decoder import Plans
from ehr_pipeline.generators.record_arrays import learn_records, token_rows
from ehr_pipeline.generators.record_autoencoder import RecordAutoencoder
from ehr_pipeline.generators.record_events import timed_events
from ehr_pipeline.generators.record_layout import RecordLayout
from ehr_pipeline.generators.static_columns import StaticArrays, StaticColumns
from ehr_pipeline.generators.timelines import Clock, TimelineCohort, TimelineGenerator
from ehr_pipeline.generators.training import enough_memory, one_thread, pick_device, seeded, train_network
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.progress import Progress

EXACT_NOTE = (
    "exact_values: numbers are given back exactly as training patients have them, those of single patients too; "
    "this variant is for comparison with the paper, not for release"
)
DRAWS_PER_PATIENT = 32
"""Embeddings that are weighed for each patient with conditions."""
MOST_DRAWS = 200_000
N_MATCHED = 4096
"""Embeddings on which what plans say is matched to how often patients have it."""


class EHRSafe(TimelineGenerator):
    """EHR-Safe."""

    name: ClassVar[str] = "ehr_safe"
    title: ClassVar[str] = "EHR-Safe"
    config_type: ClassVar[type[GeneratorConfig]] = EHRSafeConfig

    def __init__(
        self,
        *,
        config: EHRSafeConfig,
        clock: Clock,
        layout: RecordLayout,
        statics: StaticColumns,
        others: EventValues,
        most_stamps: int,
        records: RecordAutoencoder,
        embeddings: LatentGAN,
        history: list[dict[str, float]],
        notes: tuple[str, ...],
    ) -> None:
        self.config = config
        self.clock = clock
        self.layout = layout
        self.statics = statics
        self.others = others
        """Values of rare codes and ends."""
        self.most_stamps = most_stamps
        self.records = records.eval()
        self.embeddings = embeddings.eval()
        self.history = history
        """Epochs of all parts, numbered through; `part`: 1 static categories, 2 timed ones, 3 records, 4 embeddings."""
        self.notes = notes
        self.device = embeddings.mean.device.type

    @classmethod
    def fit(
        cls,
        cohort: TimelineCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Train part after part; with `checkpoint`, each part keeps a folder in it."""
        cls.without_budget(budget)
        config = EHRSafeConfig.model_validate(config.model_dump())
        if cohort.n_patients < MINIMUM_PATIENTS:
            raise DefinitionError(f"{cls.name} needs at least {MINIMUM_PATIENTS} patients, and there are fewer")
        device = pick_device(config.device)
        learned = learn_records(
            cohort,
            events_per_patient=config.events_per_patient,
            exact=config.exact_values,
            gap_levels=config.gap_levels,
            rng=np.random.default_rng(config.seed),
        )
        records, n_patients = learned.records.to(device), cohort.n_patients
        everyone = torch.arange(n_patients, device=device)

        def kept(part: str, data: tuple[Tensor, ...], row_owner: np.ndarray) -> Checkpoint | None:
            if checkpoint is None:
                return None
            checkpoint.mkdir(parents=True, exist_ok=True)
            return Checkpoint.of(checkpoint / part, config, data, row_owner)

        history = []

        def told(part: int, epochs: list[dict[str, float]]) -> None:
            first = len(history) + 1
            history.extend({**epoch, "epoch": first + k, "part": part} for k, epoch in enumerate(epochs))

        def categories(part: int, tokens: Tokens, rows: Tensor, owner: np.ndarray) -> CategoryAutoencoder:
            network = CategoryAutoencoder(tokens).to(device)
            if len(rows):
                settings = _settings(config, updates=config.category_updates, batch_rows=512)
                told(
                    part,
                    train_network(
                        network,
                        (rows,),
                        owner,
                        settings,
                        task=f"{cls.title}: categories {part} of 2",
                        progress=progress,
                        checkpoint=kept(f"categories-{part}", (rows,), owner),
                    ),
                )
            return network

        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            owner = np.arange(n_patients)
            static_rows = records.static_tokens if learned.statics.tokens.n_tokens else records.static_tokens[:0]
            static_categories = categories(1, learned.statics.tokens, static_rows, owner)
            rows, row_owner = token_rows(records, learned.layout.tokens)
            timed_categories = categories(2, learned.layout.tokens, rows, row_owner.cpu().numpy())
            n_rare = records.tokens.shape[1] - len(learned.layout.grouped)
            autoencoder = RecordAutoencoder(
                learned.layout,
                learned.statics,
                timed_categories,
                static_categories,
                config,
                n_rare=n_rare,
                bit_shares=records.bits.mean(dim=0),
                stamp_shares=records.stamp_shares(),
                window_minutes=cohort.clock.window_minutes,
            ).to(device)
            autoencoder.records = records
            told(
                3,
                train_network(
                    autoencoder,
                    (everyone,),
                    owner,
                    _settings(config, updates=config.updates, batch_rows=config.batch_rows),
                    task=f"{cls.title}: records",
                    progress=progress,
                    checkpoint=kept("records", records.tensors(), owner),
                ),
            )
            with torch.no_grad():
                codes = torch.cat([autoencoder.encode(block) for block in everyone.split(256)]).float()
            gan, rows = LatentGAN.of(codes, config.gan_hidden)
            told(
                4,
                train_latent_gan(
                    gan,
                    rows,
                    config,
                    task=f"{cls.title}: embeddings",
                    progress=progress,
                    checkpoint=kept("embeddings", (rows,), owner),
                ),
            )
            embedding = gan.draw(N_MATCHED)
            autoencoder.plan.match(embedding + config.latent_noise * torch.randn_like(embedding))
        del autoencoder.records
        return cls(
            config=config,
            clock=cohort.clock,
            layout=learned.layout,
            statics=learned.statics,
            others=learned.others,
            most_stamps=learned.most_stamps,
            records=autoencoder,
            embeddings=gan,
            history=history,
            notes=(*learned.notes, EXACT_NOTE) if config.exact_values else learned.notes,
        )

    def sample(self, n: int, seed: int, conditions: Mapping[str, str | float] | None = None) -> pd.DataFrame:
        """Draw `n` patients, all of them step by step at once."""
        rng = np.random.default_rng(seed)
        device = torch.device(self.device)
        tokens, numbers = self.statics.conditions(conditions)
        with one_thread(), seeded(int(rng.integers(2**63)), device), torch.no_grad():
            embedding = self._embeddings(n, tokens, {k: z for k, (z, _) in numbers.items()})
            plans = self.records.plan.draw(embedding)
            plans = _set(plans, tokens, {k: z for k, (z, _) in numbers.items()})
            drawn = self.records.draw(embedding, plans, self.most_stamps, rng)
        begin = np.zeros(n, dtype=np.int64) if self.clock.is_shared else drawn.begin
        origin = self.clock.start + begin.astype("timedelta64[m]")
        table = self.statics.decode(
            StaticArrays(
                tokens=plans.static_tokens.cpu().numpy(),
                z=plans.static_z.cpu().numpy(),
                present=plans.static_present.cpu().numpy(),
            )
        )
        for k, (_, value) in numbers.items():
            table[str(list(self.statics.numbers)[k])] = value
        static = self.statics.facts.events(table, origin)
        events = pd.concat([static, timed_events(drawn, self.layout, self.others, origin, rng)], ignore_index=True)
        # Both parts are in order by themselves, and static facts come first; a birth lies before the origin.
        events = events.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)
        return events.astype({"code": "category", "text_value": "category"})

    def _embeddings(self, n: int, tokens: dict[int, int], numbers: dict[int, float]) -> Tensor:
        """Embeddings of `n` patients, as decoders have seen them in training: (n, latent)."""

        def noisy(n_rows: int) -> Tensor:
            embedding = self.embeddings.draw(n_rows)
            return embedding + self.config.latent_noise * torch.randn_like(embedding)

        if not (tokens or numbers) or not n:
            return noisy(n)
        candidates = noisy(min(max(DRAWS_PER_PATIENT * n, 1024), max(MOST_DRAWS, n)))
        chances = self.records.plan.condition_chances(candidates, tokens, numbers)
        chosen = torch.multinomial((chances - chances.max()).exp().clamp_min(1e-12), n, replacement=True)
        return candidates[chosen]

    def save(self, folder: Path) -> None:
        """Write columns, config and history, and the weights of all networks."""
        layout, arrays = self.layout.state()
        arrays = {f"layout.{name}": array for name, array in arrays.items()}
        statics, parts = self.statics.state()
        arrays |= {f"statics.{name}": array for name, array in parts.items()}
        others, parts = self.others.state()
        arrays |= {f"others.{name}": array for name, array in parts.items()}
        for part, network in (("records", self.records), ("embeddings", self.embeddings)):
            arrays |= {f"{part}.{name}": weight.cpu().numpy() for name, weight in network.state_dict().items()}
        plain = {
            "config": self.config.model_dump(mode="json"),
            "clock": self.clock.state(),
            "layout": layout,
            "statics": statics,
            "others": others,
            "most_stamps": self.most_stamps,
            "n_rare": self.records.stamp.n_rare,
            "history": self.history,
            "notes": list(self.notes),
        }
        write_state(folder, "generator", plain, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config, clock = EHRSafeConfig.model_validate(plain["config"]), Clock.of_state(plain["clock"])
        device = pick_device("cpu" if config.device == "cpu" else "auto")
        layout = RecordLayout.of_state(plain["layout"], under("layout.", arrays))
        statics = StaticColumns.of_state(plain["statics"], under("statics.", arrays))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        weights = under("records.", tensors)
        autoencoder = RecordAutoencoder(
            layout,
            statics,
            CategoryAutoencoder(layout.tokens),
            CategoryAutoencoder(statics.tokens),
            config,
            n_rare=plain["n_rare"],
            bit_shares=weights["plan.bit_shares"],
            stamp_shares=weights["stamp.start"].sigmoid(),
            window_minutes=clock.window_minutes,
        )
        autoencoder.load_state_dict(weights)
        of_gan = under("embeddings.", tensors)
        gan = LatentGAN(of_gan["back"].shape[0], of_gan["back"].shape[1], config.gan_hidden)
        gan.load_state_dict(of_gan)
        return cls(
            config=config,
            clock=clock,
            layout=layout,
            statics=statics,
            others=EventValues.of_state(plain["others"], under("others.", arrays)),
            most_stamps=plain["most_stamps"],
            records=autoencoder.to(device),
            embeddings=gan.to(device),
            history=plain["history"],
            notes=tuple(plain["notes"]),
        )


def _settings(config: EHRSafeConfig, *, updates: int, batch_rows: int) -> TrainedConfig:
    """How one part is trained."""
    return TrainedConfig(
        seed=config.seed, updates=updates, batch_rows=batch_rows, learning_rate=config.learning_rate, weight_decay=1e-2
    )


def _set(plans: Plans, tokens: dict[int, int], numbers: dict[int, float]) -> Plans:
    """The plans with given static tokens and numbers."""
    static_tokens, z, present = (one.clone() for one in (plans.static_tokens, plans.static_z, plans.static_present))
    for group, token in tokens.items():
        static_tokens[:, group] = token
    for k, number in numbers.items():
        z[:, k], present[:, k] = number, 1.0
    return replace(plans, static_tokens=static_tokens, static_z=z, static_present=present)
