"""Identifiers that need no counter: each follows from the number of its encounter or block.

What belongs here: ranges of ids. Wherever a hospital is simulated, in whatever order, a patient's ids are the
same.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

FIRST_TRANSFER_ID = 30_000_000
MOST_PHARMACY_ORDERS = 48
FIRST_PHARMACY_ID = 10_000_000
CAREGIVER_IDS = np.arange(10_003, 10_003 + 7 * 400, 7)
PROVIDER_IDS = np.array([f"P{(number * 7919 + 131) % 1_000_003:05X}" for number in range(600)], dtype=object)


class Slot(IntEnum):
    """The beds of an encounter, in order; each has one transfer."""

    EMERGENCY = 0
    WARD_BEFORE = 1
    ICU = 2
    WARD_AFTER = 3
    DISCHARGE = 4


def transfer_id(encounter_number: np.ndarray, slot: Slot) -> np.ndarray:
    """Identifier of a transfer. As in MIMIC-IV, an ICU or ED stay bears the id of the transfer that began it."""
    return FIRST_TRANSFER_ID + encounter_number * len(Slot) + slot


def provider(number: np.ndarray) -> np.ndarray:
    """Some provider for any number."""
    return PROVIDER_IDS[number % len(PROVIDER_IDS)]
