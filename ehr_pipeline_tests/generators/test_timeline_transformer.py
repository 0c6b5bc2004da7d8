"""The parts of the timeline transformer: state, pieces, drawing, values."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from ehr_pipeline.generators.stay_plan import PlanRows
from ehr_pipeline.generators.stay_sums import StayLayout
from ehr_pipeline.generators.timeline_batches import Positions, batches, piece_losses
from ehr_pipeline.generators.timeline_decoding import NEAR_MINUTES, Drawing
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import EventLevels, name_parts
from ehr_pipeline.generators.timeline_network import Shape, TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timeline_values import Drawn, drawn_values
from ehr_pipeline_tests.generators.cohorts import timeline_cohort

WINDOW = 8


class Stays:
    """Made-up stays with the plans that they kept to, and a network that knows nothing."""

    def __init__(self, piece: int = 512) -> None:
        self.cohort = timeline_cohort()
        self.timed = TimedEvents.of(self.cohort, 20_000)
        n = self.cohort.n_patients
        layout = StayLayout.learn(self.timed, n, self.cohort.clock.window_minutes)
        sums = layout.sums(self.timed, n)
        self.planned = np.array(layout.planned)
        table = sums.frame(layout)
        numbers = np.nan_to_num(table.to_numpy(dtype=np.float32))
        self.rows = PlanRows(
            counts=sums.counts,
            features=(numbers - numbers.mean(axis=0)) / (numbers.std(axis=0) + 1),
            n_other=sums.n_other,
            n_times=sums.n_times,
            first_minute=sums.first_minute,
            last_minute=sums.last_minute,
            table=table,
        )
        self.levels = EventLevels.learn(self.timed, self.planned, gap_levels=16, value_levels=16)
        self.goals = Goals.of(self.rows, np.arange(n), self.planned, self.levels)
        self.sequences = Sequences.of(self.timed, self.levels, np.zeros(n), piece)
        torch.manual_seed(0)
        shape = Shape(width=16, layers=2, heads=2, window=WINDOW, hidden=16, n_features=numbers.shape[1])
        self.network = TimelineNetwork(self.levels, shape).eval()
        for weight in self.network.parameters():
            torch.nn.init.normal_(weight, std=0.3)


@pytest.fixture(scope="module")
def stays() -> Stays:
    return Stays()


@pytest.fixture(scope="module")
def drawn(stays) -> Drawn:
    return drawing(stays).events().sorted()


def drawing(stays: Stays, closed: torch.Tensor | None = None) -> Drawing:
    n = stays.cohort.n_patients
    with torch.no_grad():
        rng, window = np.random.default_rng(0), stays.cohort.clock.window_minutes
        return Drawing(
            stays.network, stays.levels, stays.goals, begin=torch.zeros(n), closed=closed, window=window, rng=rng
        )


@torch.no_grad()
def test_drawing_reads_what_training_reads_event_by_event(stays):
    """The cached attention and the state kept in drawing are those of teacher forcing."""
    pieces = torch.arange(stays.sequences.n_pieces)
    at = Positions(stays.network, stays.sequences, stays.goals, pieces)
    wanted, _ = at.read(stays.network, stays.sequences, stays.goals, 0.0)
    kept, sequences = drawing(stays), stays.sequences
    n_events = int(sequences.length.min())
    assert n_events > 3 * WINDOW
    for position in range(n_events):
        h = kept._read(position)
        here = torch.nonzero(at.place % at.length == position).squeeze(1)
        torch.testing.assert_close(h, wanted[here], atol=2e-4, rtol=1e-3)
        for name in ("left", "last_minute", "last_z", "minute", "stamps_left", "end", "echo", "echo_size"):
            torch.testing.assert_close(getattr(kept.state, name), getattr(at.state, name)[here])
        event = at.event[here]
        code, rows = sequences.code[event], torch.arange(len(event))
        past, true = kept.past.at((rows, code)), sequences.past.at(event)
        for field in fields(past):
            atol = 0.5 if field.name == "sum_u" else 1e-4
            torch.testing.assert_close(getattr(past, field.name), getattr(true, field.name), atol=atol, rtol=0)
        kept._write(
            torch.ones(len(event), dtype=torch.bool),
            past,
            step=sequences.step[event],
            minute=sequences.minute[event].float(),
            code=code,
            slot=sequences.slot[event],
            is_same_time=sequences.is_stamp[event] == 0,
        )


def test_a_piece_begins_in_the_state_that_the_one_before_it_ended_in(stays):
    cut = Stays(piece=7)
    assert cut.sequences.n_pieces > 5 * stays.sequences.n_pieces
    states = []
    for some in (stays, cut):
        at = Positions(some.network, some.sequences, some.goals, torch.arange(some.sequences.n_pieces))
        order = at.event.argsort()
        states.append({field.name: getattr(at.state, field.name)[order] for field in fields(at.state)})
    for name, whole in states[0].items():
        torch.testing.assert_close(states[1][name], whole)


def test_pieces_do_not_touch_each_other_and_every_one_is_in_one_batch(stays):
    sequences = stays.sequences
    with torch.no_grad():
        together = piece_losses(stays.network, sequences, stays.goals, torch.arange(6))
        alone = torch.cat([piece_losses(stays.network, sequences, stays.goals, torch.tensor([k])) for k in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-2, rtol=1e-4)
    made = list(batches(sequences.length, torch.arange(sequences.n_pieces), 300, shuffled=True))
    assert sorted(torch.cat(made).tolist()) == list(range(sequences.n_pieces))
    assert all(len(batch) * int(sequences.length[batch].max()) <= 300 for batch in made)


def test_stays_keep_to_their_plans(stays, drawn):
    n, n_codes = stays.cohort.n_patients, len(stays.levels.codes)
    counts = np.zeros((n, n_codes), dtype=np.int64)
    np.add.at(counts, (drawn.patient, drawn.code), 1)
    assert (counts[:, stays.planned] <= stays.rows.counts).all()
    assert counts[:, stays.planned].sum() > 0.3 * stays.rows.counts.sum()
    for k in range(n):
        minute = drawn.minute[drawn.patient == k]
        assert minute[0] == stays.rows.first_minute[k]
        assert minute[-1] <= min(stays.rows.last_minute[k] + NEAR_MINUTES, stays.cohort.clock.window_minutes)
        assert (np.diff(minute) >= 0).all()
        assert len(np.unique(minute)) <= stays.rows.n_times[k]


def test_nothing_follows_death_and_codes_stand_in_order_inside_a_time_stamp(stays, drawn):
    died = stays.levels.codes.index("MEDS_DEATH")
    assert (drawn.code == died).sum() == (stays.timed.code == died).sum() > 0
    is_next = drawn.patient[1:] == drawn.patient[:-1]
    assert not (is_next & (drawn.code[:-1] == died)).any()
    is_same_time = is_next & (drawn.minute[1:] == drawn.minute[:-1])
    assert is_same_time.any()
    assert (np.diff(drawn.code)[is_same_time] > 0).all()


def test_a_code_that_is_closed_to_a_patient_is_never_drawn(stays):
    closed = torch.zeros(stays.cohort.n_patients, len(stays.levels.codes), dtype=torch.bool)
    code = stays.levels.codes.index("HR")
    closed[::2, code] = True
    made = drawing(stays, closed).events()
    has = np.unique(made.patient[made.code == code])
    assert len(has)
    assert (has % 2 == 1).all()


def test_values_stay_inside_the_planned_extremes_and_the_last_one_is_the_planned_one(stays, drawn):
    value, _ = drawn_values(drawn, stays.levels, stays.goals.values.numpy(), np.random.default_rng(0))
    goal = stays.goals.values.numpy()[drawn.patient, stays.levels.channel[drawn.code]]
    bound = np.isfinite(goal[:, 0]) & np.isfinite(value)
    assert bound.any()
    assert ((value >= goal[:, 1]) & (value <= goal[:, 2]))[bound].all()
    assert drawn.is_told.any()
    np.testing.assert_array_equal(value[drawn.is_told], goal[drawn.is_told, 3])


def test_extremes_that_no_value_reached_are_reached_by_the_nearest(stays):
    code = stays.levels.codes.index("BP")
    n = 5
    drawn = Drawn(
        patient=np.zeros(n, dtype=np.int64),
        minute=np.arange(n),
        code=np.full(n, code),
        slot=np.array([6, 7, 8, 0, 9]),
        is_told=np.array([False, False, False, False, True]),
    )
    planned = np.full((1, stays.levels.n_channels, 4), np.nan)
    planned[0, stays.levels.channel[code]] = (120, 91, 149, 130)
    value, _ = drawn_values(drawn, stays.levels, planned, np.random.default_rng(0))
    assert (value.min(), value.max(), value[-1]) == (91, 149, 130)
    assert value[3] == value[2]


def test_names_share_what_stands_before_their_separators_and_their_first_characters():
    codes = ("DIAGNOSIS//ICD//10//I10", "DIAGNOSIS//ICD//10//I21", "DIAGNOSIS//ICD//10//J18", "HR", "LAB//1//mg")
    parts, n_parts = name_parts(codes)
    shared = [set(row[row > 0].tolist()) for row in parts]
    assert n_parts == 1 + 4  # three prefixes by separator, and I
    assert len(shared[0] & shared[1]) == 4
    assert len(shared[0] & shared[2]) == 3
    assert not shared[3]
    assert not shared[4]
