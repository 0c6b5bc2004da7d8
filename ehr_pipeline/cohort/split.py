"""Which patients are held out.

What belongs here: the salted hash that decides, in Python for one patient and in SQL for many. A patient's side
depends on the patient and the salt alone, so adding patients moves nobody, and with one salt a patient is on the same
side in every cohort.
"""

from __future__ import annotations

import hashlib
from typing import Literal

HASH_DIGITS = 13  # 52 bits: every value is exact in a double


def split_of(subject_id: int, salt: str, holdout_share: float) -> Literal["train", "holdout"]:
    """The side of one patient: holdout if SHA-256 of `salt:subject_id`, read as a number in [0, 1), is below the share.

    >>> split_of(10000032, "ehr_pipeline", 0.3)
    'train'
    """
    digest = hashlib.sha256(f"{salt}:{subject_id}".encode()).hexdigest()
    return "holdout" if int(digest[:HASH_DIGITS], 16) / 16**HASH_DIGITS < holdout_share else "train"


def split_sql(subject_id: str) -> str:
    """The same in SQL for a column; binds the salt, then the share."""
    number = f"('0x' || substr(sha256(? || ':' || {subject_id}::BIGINT), 1, {HASH_DIGITS}))::BIGINT"
    return f"CASE WHEN {number} / {16**HASH_DIGITS}::DOUBLE < ? THEN 'holdout' ELSE 'train' END"
