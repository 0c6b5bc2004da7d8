"""Spells: what opens and closes them, and what an event outside does."""

import duckdb
import pytest

from ehr_pipeline.export.spells import create_spells


def spells(*events):
    """Spells of one patient, as (start, stop) in hours, and the spell of each event, counted from 1."""
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE events "
        "(event INTEGER, patient INTEGER, time TIMESTAMP, code VARCHAR, text_value VARCHAR, role VARCHAR)"
    )
    for place, (hour, role) in enumerate(events):
        con.execute(
            "INSERT INTO events VALUES (?, 1, TIMESTAMP '2000-01-01' + to_hours(?), ?, NULL, ?)",
            [place, hour, role, role],
        )
    create_spells(con, "spell", "events", "patient", 1)
    hours = "date_diff('hour', TIMESTAMP '2000-01-01', {})"
    found = con.execute(f"SELECT {hours.format('start')}, {hours.format('stop')} FROM spell ORDER BY id").fetchall()
    return found, dict(con.execute("SELECT event, id FROM spell_member ORDER BY event").fetchall())


@pytest.mark.parametrize(
    ("events", "found", "members"),
    [
        ([(1, "opens"), (5, "needs"), (9, "closes")], [(1, 9)], {1: 1}),
        ([(1, "opens"), (5, "needs")], [(1, 5)], {1: 1}),  # never closed: to its last event
        ([(1, "opens"), (4, "needs"), (5, "opens"), (9, "closes")], [(1, 4), (5, 9)], {1: 1}),  # never two at a time
        ([(3, "closes"), (9, "closes")], [], {}),  # nothing to close
        ([(3, "needs"), (8, "needs"), (9, "closes")], [(3, 9)], {0: 1, 1: 1}),  # its opening was not seen
        ([(1, "opens"), (9, "closes"), (12, "needs")], [(1, 9)], {2: 1}),  # late charting
        ([(1, "needs"), (9, "opens"), (12, "closes")], [(9, 12)], {0: 1}),  # an early order
        ([(1, "opens"), (9, "closes"), (60, "needs")], [(1, 9), (60, 60)], {2: 2}),  # too far: another
        ([(1, "needs"), (500, "needs")], [(1, 1), (500, 500)], {0: 1, 1: 2}),  # quiet for weeks, none closed
        ([(1, "opens"), (500, "needs"), (501, "closes")], [(1, 501)], {1: 1}),  # quiet for weeks, and said so
        # Quiet for weeks, and still there: what comes with it is inside, too.
        ([(1, "opens"), (9, "needs"), (500, "needs"), (500, "outlasts")], [(1, 500)], {1: 1, 2: 1, 3: 1}),
        ([(5, "outlasts"), (9, "needs")], [(5, 9)], {0: 1, 1: 1}),
        ([(1, "opens"), (9, "closes"), (500, "outlasts"), (501, "needs")], [(1, 9), (500, 501)], {2: 2, 3: 2}),
        ([(1, "opens"), (9, "continues"), (90, "continues")], [(1, 9)], {1: 1, 2: None}),
        ([(5, "continues"), (9, "follows"), (9, "near")], [], {0: None, 1: None, 2: None}),
        (
            [(1, "opens"), (9, "closes"), (12, "follows"), (12, "continues"), (60, "near")],
            [(1, 9)],
            {2: 1, 3: None, 4: None},
        ),
        (
            [(1, "needs"), (200, "needs"), (201, "continues"), (220, "opens"), (230, "closes")],
            [(1, 1), (220, 230)],
            {0: 1, 1: 2, 2: None},
        ),
        ([(7, "closes"), (7, "needs"), (7, "opens")], [(7, 7)], {1: 1}),  # one moment: in, there, out
    ],
)
def test_spells_and_their_members(events, found, members):
    assert spells(*events) == (found, members)
