"""Drawn records back to events: masks, categories and units restored.

What belongs here: the way back of `record_arrays.py`. What does not: drawing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ehr_pipeline.generators.event_values import EventValues
from ehr_pipeline.generators.record_autoencoder import Drawn
from ehr_pipeline.generators.record_layout import FIRST_TEXT, RecordLayout
from ehr_pipeline.generators.timelines import events_frame


def timed_events(
    drawn: Drawn, layout: RecordLayout, others: EventValues, origin: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """The timed events of records whose time 0 is `origin`, patients numbered from 1, in order.

    Parameters
    ----------
    others
        Values of rare codes and ends, by their place among both.
    """
    rows, codes, values, texts = [], [], [], []
    for k, name in enumerate(layout.features):
        here = np.flatnonzero(drawn.mask[:, k])
        value, text = np.full(len(here), np.nan), np.full(len(here), None, dtype=object)
        if k in layout.numbers:
            is_number = drawn.is_number[here, k] > 0
            value[is_number] = layout.numbers[k].restore(ndtr(drawn.z[here[is_number], k].astype(np.float64)))
        for one, of_text in _text_rows(drawn, layout, k, here):
            text[of_text] = one
        rows.append(here)
        codes.append(np.full(len(here), name, dtype=object))
        values.append(value)
        texts.append(text)
    patient, minute = drawn.patient, drawn.minute
    own = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    feature_events = events_frame(
        patient[own] + 1,
        origin[patient[own]] + minute[own].astype("timedelta64[m]"),
        np.concatenate([np.empty(0, dtype=object), *codes]),
        np.concatenate([np.empty(0), *values]),
        np.concatenate([np.empty(0, dtype=object), *texts]),
    )
    other_events = _other_events(drawn, layout, others, origin, rng)
    events = pd.concat([feature_events, other_events], ignore_index=True)
    rank = {name: k for k, name in enumerate(sorted({*layout.features, *layout.rare}) + list(layout.ends))}
    place = events["code"].map(rank).to_numpy(dtype=np.int64)
    order = np.lexsort((place, events["time"].to_numpy(), events["subject_id"].to_numpy()))
    return events.iloc[order].reset_index(drop=True)


def _text_rows(drawn: Drawn, layout: RecordLayout, k: int, here: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each text of the feature `k`, with the events among `here` that have it."""
    forms = layout.forms[k]
    if k in layout.grouped:
        j = layout.grouped.index(k)
        place = drawn.tokens[here, j] - layout.tokens.groups[j].start
    else:
        place = np.zeros(len(here), dtype=np.int64)
    for at, form in enumerate(forms):
        if form >= FIRST_TEXT:
            yield layout.texts[k][form - FIRST_TEXT], place == at


def _other_events(
    drawn: Drawn, layout: RecordLayout, others: EventValues, origin: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Rare codes at their time stamps, and ends."""
    members = drawn.tokens[:, len(layout.grouped) :]
    row, place = np.nonzero(members >= 0)
    rare = members[row, place] - layout.tokens.set_start
    bits = drawn.plans.bits.cpu().numpy()
    ended, end = np.nonzero(bits[:, bits.shape[1] - len(layout.ends) :] > 0)
    patient = np.concatenate([drawn.patient[row], ended])
    minute = np.concatenate([drawn.minute[row], drawn.end_minute[ended]])
    code = np.concatenate([rare, len(layout.rare) + end])
    order = np.lexsort((code, minute, patient))
    patient, minute, code = patient[order], minute[order], code[order]
    value, text = others.draw(code, patient, rng)
    names = np.array([*layout.rare, *layout.ends, None], dtype=object)
    return events_frame(patient + 1, origin[patient] + minute.astype("timedelta64[m]"), names[code], value, text)
