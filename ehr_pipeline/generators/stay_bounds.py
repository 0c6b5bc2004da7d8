"""What drawn histories may not say, whoever drew them: a stay inside another, a code of the other sex.

What belongs here: taking out of whole histories what cannot be, after they are drawn, for every generator alike. What
does not: which diagnoses a sex or an age cannot have (`code_limits.py`), stays of a cohort's window (`prepare/`), which
are put together from facts.

Of one kind of stay (hospital, intensive care, emergency), openings and closings of a patient take turns: an opening in
an open stay and a closing without one are left out. Closings go before openings of the same time, as where a patient is
discharged and admitted in one minute. A patient of whom nothing tells an opening keeps the first closing: records may
begin inside a stay.

It reads drawn events alone, so it costs no privacy budget. Memory: about 50 bytes per event, and a byte per patient and
code.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.generators.code_limits import ages, closed_codes, sexes
from ehr_pipeline.generators.timelines import BIRTH

KINDS = (("ADMISSION", "DISCHARGE"), ("ICU_ADMISSION", "ICU_DISCHARGE"), ("ED_ARRIVAL", "ED_DISPOSITION"))
"""First words of the codes that open and close a stay."""


def within_bounds(events: pd.DataFrame) -> pd.DataFrame:
    """The events that can be, in their order.

    Parameters
    ----------
    events
        `EVENT_COLUMNS` of whole patients, numbered from 1, as a `TimelineGenerator` draws them.
    """
    if events.empty:
        return events
    codes = events["code"].astype("category").cat
    words, place = codes.categories.astype(str), codes.codes.to_numpy()
    patient = events["subject_id"].to_numpy()
    time = events["time"].to_numpy().astype("datetime64[us]")
    is_timed = ~np.isnat(time)
    is_kept = ~_is_closed(events, tuple(words), place, is_timed)
    first_word = words.str.split("//", n=1).str[0].to_numpy()
    for opens, closes in KINDS:
        is_open, is_close = first_word == opens, first_word == closes
        rows = np.flatnonzero((is_open | is_close)[place] & is_timed & is_kept)
        opening = is_open[place[rows]]
        order = np.lexsort((opening, time[rows], patient[rows]))
        is_kept[rows[order]] = _takes_turns(patient[rows[order]], opening[order])
    return events[is_kept].reset_index(drop=True)


def _takes_turns(patient: np.ndarray, is_opening: np.ndarray) -> np.ndarray:
    """Which of these, in order by patient and time, change whether a stay is open: bool of shape (n,)."""
    if not len(patient):
        return np.zeros(0, dtype=bool)
    is_first = np.append(True, patient[1:] != patient[:-1])
    is_turn = is_first | np.append(True, is_opening[1:] != is_opening[:-1])
    ever_opens = np.isin(patient, patient[is_opening])
    return is_turn & ~(is_first & ~is_opening & ever_opens)


def _is_closed(events: pd.DataFrame, codes: tuple[str, ...], place: np.ndarray, is_timed: np.ndarray) -> np.ndarray:
    """Which timed events have a code that the patient's sex or age cannot have."""
    patient = events["subject_id"].to_numpy() - 1
    n = int(patient.max(initial=-1)) + 1
    is_birth = np.array([code == BIRTH for code in codes], dtype=bool)[place]
    facts = events[~is_timed | is_birth]
    lived = events[is_timed & ~is_birth]
    origin = np.full(n, np.datetime64("NaT", "us"))
    starts = lived.groupby("subject_id")["time"].min()
    origin[starts.index.to_numpy() - 1] = starts.to_numpy().astype("datetime64[us]")
    closed = closed_codes(codes, sexes(facts, n), ages(facts, origin))
    if closed is None:
        return np.zeros(len(events), dtype=bool)
    return is_timed & ~is_birth & closed[patient, place]
