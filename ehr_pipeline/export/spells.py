"""Admissions and stays, found again in a stream that names none: what opens, what closes, what cannot be outside.

What belongs here: the SQL of spells over events with roles. What does not: which event plays which role
(`roles.py`), identifiers and dates (`place.py`).

Per group of events (a patient, or an admission), in the order of time:

- `opens` begins a spell; one that was still open ends there;
- `closes` ends it; without an open one it says nothing;
- `needs` happens inside only: where none is open it belongs to the nearest spell within `NEAR`, else opens one;
- `outlasts` is like `needs`, and says besides that a spell that was opened went on until then, however quiet it was;
- `continues` may happen inside or outside; it lengthens an open spell by at most `NEAR`;
- `follows` and `near` belong to the spell that they are in, or to the nearest within `NEAR`, and never make one.

A spell that nothing closes ends with its last event before `QUIET`, or where the next one begins: spells never
overlap.
"""

from __future__ import annotations

import duckdb

NEAR = "INTERVAL 1 DAY"
"""How far outside a spell an event may lie and still belong to it, as late charting and early orders do."""

QUIET = "INTERVAL 7 DAY"
"""After this long without an event, a spell that nothing closes is over."""

_ORDER = "time, CASE role WHEN 'opens' THEN 0 WHEN 'outlasts' THEN 1 WHEN 'closes' THEN 3 ELSE 2 END, event"


def create_spells(con: duckdb.DuckDBPyConnection, name: str, events: str, group: str, first_id: int) -> None:
    """Create the tables `{name}` (one row per spell) and `{name}_member` (event -> spell).

    Parameters
    ----------
    events
        A relation with the columns event (unique), {group}, time, code, text_value, role.
    group
        The column whose spells never overlap.
    first_id
        Identifier of the first spell; the others follow in the order of group and time.
    """
    con.execute(f"CREATE TEMP TABLE {name} AS {_spells_sql(events, group, first_id)}")
    con.execute(f"CREATE TEMP TABLE {name}_member AS {_members_sql(name, events, group)}")


def _spells_sql(events: str, group: str, first_id: int) -> str:
    before = f"PARTITION BY {group} ORDER BY {_ORDER}"
    return f"""
        WITH placed AS (
            SELECT *, last_value(if(role IN ('opens', 'closes'), role, NULL) IGNORE NULLS) OVER w AS state,
                last_value(if(role = 'closes', time, NULL) IGNORE NULLS) OVER w AS closed_at,
                min(if(role = 'opens', time, NULL)) OVER later AS opens_at,
                first_value(if(role IN ('opens', 'closes'), role, NULL) IGNORE NULLS) OVER later AS next_state
            FROM {events} WHERE role NOT IN ('follows', 'near')
            WINDOW w AS ({before}), later AS ({before} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
        ), chain AS (
            SELECT * REPLACE (if(role = 'outlasts' AND state IS DISTINCT FROM 'opens', 'needs', role) AS role)
            FROM placed
            WHERE role NOT IN ('needs', 'outlasts') OR state IS NOT DISTINCT FROM 'opens'
                OR (coalesce(closed_at + {NEAR} < time, TRUE) AND coalesce(time + {NEAR} < opens_at, TRUE))
        ), begun AS (
            SELECT *, last_value(if(role = 'continues', NULL, role) IGNORE NULLS) OVER earlier AS previous,
                last_value(if(role = 'continues', NULL, time) IGNORE NULLS) OVER earlier AS previous_time,
                coalesce(state = 'opens' AND next_state = 'closes', FALSE) AS is_sure
            FROM chain
            WINDOW earlier AS ({before} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ), numbered AS (
            SELECT *, count(*) FILTER (role = 'opens' OR (role = 'needs' AND (coalesce(previous, 'closes') = 'closes'
                OR (time > previous_time + {QUIET} AND NOT is_sure)))) OVER ({before}) AS spell
            FROM begun
        ), summed AS (
            SELECT {group}, min(time) AS start, min(time) FILTER (role = 'closes') AS closed, max(time) AS last_seen,
                arg_min(struct_pack(code, text_value), event) FILTER (role = 'opens') AS opening,
                arg_min(code, (time, event)) FILTER (role = 'closes') AS closing
            FROM numbered
            WHERE spell > 0 AND (role <> 'continues' OR time <= previous_time + {NEAR})
            GROUP BY {group}, spell
        )
        SELECT {first_id} - 1 + row_number() OVER (ORDER BY {group}, start, closed) AS id, {group}, start,
            least(coalesce(closed, last_seen), lead(start) OVER (PARTITION BY {group} ORDER BY start, closed)) AS stop,
            closed IS NOT NULL AS is_closed, opening.code AS open_code, opening.text_value AS open_text,
            closing AS close_code
        FROM summed"""


def _members_sql(name: str, events: str, group: str) -> str:
    """Inside, else the nearer neighbour within `NEAR`; an event that may be outside is only ever inside."""
    return f"""
        SELECT e.event, CASE
            WHEN e.time <= p.stop THEN p.id
            WHEN e.role = 'continues' THEN NULL
            WHEN e.time <= p.stop + {NEAR} AND e.time - p.stop <= coalesce(n.start - e.time, {NEAR}) THEN p.id
            WHEN n.start <= e.time + {NEAR} THEN n.id END AS id
        FROM {events} e
            ASOF LEFT JOIN {name} p ON e.{group} = p.{group} AND e.time >= p.start
            ASOF LEFT JOIN {name} n ON e.{group} = n.{group} AND e.time < n.start
        WHERE e.role NOT IN ('opens', 'closes')"""
