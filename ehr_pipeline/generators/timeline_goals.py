"""The plan of a stay as what its events still have to reach: how many, when, which values.

What belongs here: plans as tensors by channel. What does not: the plan's own columns (`stay_plan.py`), the state that
is held against them (`timeline_state.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ehr_pipeline.generators.stay_plan import PlanRows
from ehr_pipeline.generators.timeline_levels import EventLevels

PARTS = ("mean", "min", "max", "last")


@dataclass(frozen=True, kw_only=True)
class Goals:
    """What n stays are to become.

    Attributes
    ----------
    counts
        float32 of shape (n, n_channels): events of each planned code, then of all others.
    stamps, first_minute, last_minute
        float32 of shape (n,): distinct times, the first, the last.
    has
        float32 of shape (n, n_channels): 1 where values are planned.
    z
        float32 of shape (n, n_channels, 4): `PARTS` as standard normal numbers, those of their slots (but the mean),
        0 where nothing is planned.
    mean_u
        float32 of shape (n, n_channels): the mean as a standardised number.
    slots
        int64 of shape (n, n_channels, 3): the least and largest slot that the extremes leave, and that of the last.
    values
        float64 of shape (n, n_channels, 4): `PARTS`, NaN where nothing is planned.
    features
        float32 of shape (n, n_features): the whole row.
    """

    counts: Tensor
    stamps: Tensor
    first_minute: Tensor
    last_minute: Tensor
    has: Tensor
    z: Tensor
    mean_u: Tensor
    slots: Tensor
    values: Tensor
    features: Tensor

    @classmethod
    def of(cls, rows: PlanRows, stays: np.ndarray, planned: np.ndarray, levels: EventLevels) -> Self:
        """The goals of the chosen stays (int64 of shape (n,)) of drawn or of real plans."""
        n, n_channels, table = len(stays), levels.n_channels, rows.table.iloc[stays]
        values = np.full((n, n_channels, len(PARTS)), np.nan)
        z = np.zeros(values.shape, dtype=np.float32)
        mean_u = np.zeros((n, n_channels), dtype=np.float32)
        slots = np.zeros((n, n_channels, 3), dtype=np.int64)
        for k, code in enumerate(planned.tolist()):
            if f"mean.{k}" not in table or code not in levels.symbols.numbers:
                continue
            codec = levels.symbols.numbers[code]
            for p, part in enumerate(PARTS):
                column = table[f"{part}.{k}"].to_numpy(dtype=np.float64, na_value=np.nan)
                slot = 2 + codec.levels(column)
                values[:, k, p] = column
                z[:, k, p] = codec.gaussian(column) if part == "mean" else levels.z[code, slot]
                if part != "mean":
                    slots[:, k, p - 1] = slot
            mean_u[:, k] = np.nan_to_num(levels.standardised(code, values[:, k, 0]))
        # What has no mean is bound by nothing.
        has = np.isfinite(values).all(axis=2)
        slots[~has] = (2, max(2, int(levels.n_slots.max(initial=2))), 2)
        arrays = {
            "counts": np.column_stack([rows.counts, rows.n_other])[stays].astype(np.float32),
            "stamps": rows.n_times[stays].astype(np.float32),
            "first_minute": rows.first_minute[stays].astype(np.float32),
            "last_minute": rows.last_minute[stays].astype(np.float32),
            "has": has.astype(np.float32),
            "z": np.where(has[..., None], z, 0).astype(np.float32),
            "mean_u": np.where(has, mean_u, 0).astype(np.float32),
            "slots": slots,
            "values": values,
            "features": rows.features[stays].astype(np.float32),
        }
        return cls(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    @property
    def pace(self) -> Tensor:
        """Minutes per time: float32 of shape (n,)."""
        return self.last_minute / self.stamps.clamp_min(1)

    def at(self, which: Tensor) -> Goals:
        """Those of the chosen stays."""
        return Goals(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def to(self, device: torch.device) -> Goals:
        """The same on a device."""
        return Goals(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})
