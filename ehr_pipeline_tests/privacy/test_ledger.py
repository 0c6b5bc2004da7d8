"""What the ledger promises: nothing is spent unseen, nothing twice, and nothing that was written can be unwritten."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import BudgetExceeded, LedgerBroken, OptionError
from ehr_pipeline.privacy.budget import UNIT
from ehr_pipeline.privacy.entries import EVERYONE, digest_of, read, row_of, stored
from ehr_pipeline.privacy.ledger import Entry, Ledger
from ehr_pipeline.storage import DataFolder

OTHER_UNIT = "patient, replace one (the number of patients is public)"


def spend(epsilon=1.0, delta=1e-6, **how):
    said = {"kind": "spend", "universe": EVERYONE, "source": "cohort", "generator": "independent", "why": "a test"}
    return Entry(epsilon=epsilon, delta=delta, **(said | how))


def internal():
    return spend(math.inf, 0.0, kind="internal")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(DataFolder(tmp_path / "data").ledger)


@pytest.fixture
def written(ledger):
    """A ledger of three rows."""
    for epsilon in (0.5, 0.25, 0.25):
        ledger.reserve(spend(epsilon), 4.0)
    return ledger


def change(ledger, sql):
    with duckdb.connect(str(ledger.path)) as connection:
        connection.execute(sql)


# Spending


def test_a_row_says_what_was_spent_when_by_whom_and_by_which_code(ledger):
    tree = {"mechanisms": [{"kind": "GaussianMechanism", "noise_multiplier": 1 / 3}]}
    entry_id = ledger.reserve(spend(0.3, mechanisms=tree, accountant="PLD 1", data_fingerprint="ab"), 1.0)
    (row,) = ledger.entries()
    assert row.id == entry_id and row.number == 1 and row.unit == UNIT
    assert (row.epsilon, row.delta, row.mechanisms, row.accountant) == (0.3, 1e-6, tree, "PLD 1")
    assert row.who and row.code_version.startswith("ehr-pipeline") and row.time.endswith("+00:00")


@pytest.mark.parametrize("number", [int, np.float32, np.float64])
def test_a_budget_in_any_kind_of_number_leaves_a_ledger_that_verifies(ledger, number):
    # The file holds doubles: what is hashed has to be what is read back.
    ledger.reserve(spend(number(1), number(0)), 4.0)
    ledger.reserve(spend(number(2), 1e-6), 4.0)
    assert [row.epsilon for row in ledger.verify()] == [1.0, 2.0]


def test_a_cap_is_reached_exactly_and_never_passed(ledger):
    for _ in range(10):
        ledger.reserve(spend(0.1), 1.0)
    with pytest.raises(BudgetExceeded, match="--epsilon 0.001 .* cap of 1: 1 is spent"):
        ledger.reserve(spend(0.001), 1.0)
    assert len(ledger.entries()) == 10


def test_deltas_add_up_under_a_cap_of_their_own(ledger):
    ledger.reserve(spend(0.1, 6e-5), 4.0, 1e-4)
    with pytest.raises(BudgetExceeded, match="--delta"):
        ledger.reserve(spend(0.1, 6e-5), 4.0, 1e-4)


@pytest.mark.parametrize("epsilon", [math.inf, math.nan, 1e308])
def test_what_is_no_number_below_the_cap_is_never_spent(ledger, epsilon):
    with pytest.raises(BudgetExceeded):
        ledger.reserve(spend(epsilon), 4.0)


def test_other_patients_have_a_cap_of_their_own(ledger):
    ledger.reserve(spend(1.0), 1.0)
    ledger.reserve(spend(1.0, universe="another hospital", is_stated=True), 1.0)
    with pytest.raises(BudgetExceeded, match="another hospital"):
        ledger.reserve(spend(0.5, universe="another hospital"), 1.0)
    assert [(total.universe, total.epsilon) for total in ledger.totals()] == [
        (EVERYONE, 1.0),
        ("another hospital", 1.0),
    ]


def test_a_model_without_a_budget_counts_only_once_it_is_released_and_then_without_end(ledger):
    inside = ledger.record_internal(internal())
    ledger.reserve(spend(0.5), 1.0)
    assert ledger.totals()[0].epsilon == 0.5
    ledger.mark_released(inside, what="bundle 1", why="a test")
    (total,) = ledger.totals()
    assert math.isinf(total.epsilon) and (total.n_spends, total.n_internal, total.n_released) == (1, 1, 1)
    with pytest.raises(BudgetExceeded, match="infinity"):
        ledger.reserve(spend(0.1), 1.0)


def test_to_release_a_private_model_costs_nothing_more(ledger):
    entry_id = ledger.reserve(spend(0.5), 1.0)
    ledger.mark_released(entry_id, what="bundle 1", why="a test")
    assert ledger.totals()[0].epsilon == 0.5 and ledger.entries()[-1].of_entry == entry_id
    with pytest.raises(LedgerBroken, match="9-beef"):
        ledger.mark_released("9-beef", what="bundle", why="a test")


def test_where_one_unit_is_a_patient_replaced_the_others_count_twice(ledger):
    ledger.reserve(spend(0.5, 1e-6), 4.0)
    ledger.reserve(spend(0.5, 1e-6, unit=OTHER_UNIT), 4.0)
    (total,) = ledger.totals()
    assert total.unit == OTHER_UNIT and total.epsilon == 2 * 0.5 + 0.5
    assert total.delta == pytest.approx(1e-6 * (1 + math.exp(0.5)) + 1e-6)  # group privacy of two steps
    with pytest.raises(BudgetExceeded):
        ledger.reserve(spend(0.3), 2.0)  # 2 * 0.3 on top of 1.5


# Proof


def test_a_ledger_that_nobody_touched_verifies_and_is_the_owners_alone(written):
    assert len(written.verify(row.id for row in written.entries())) == 3
    assert written.exists
    for path in written.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name
    assert not list(written.path.parent.glob(".writing-*"))


def test_a_folder_without_a_ledger_has_spent_nothing(ledger):
    assert ledger.verify() == [] and ledger.totals() == [] and not ledger.exists


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET epsilon = epsilon / 10",
        "UPDATE entries SET who = 'somebody' WHERE number = 2",
        "UPDATE entries SET universe = 'others' WHERE number = 3",
        "UPDATE entries SET mechanisms = '{}'",
        "DELETE FROM entries WHERE number = 1",
        "DELETE FROM entries WHERE number = 3",
        "DELETE FROM entries",
        "INSERT INTO entries SELECT * FROM entries WHERE number = 3",
        "UPDATE entries SET number = 4 - number",
        "ALTER TABLE entries DROP COLUMN why",
        "ALTER TABLE entries ALTER epsilon TYPE VARCHAR",
        "DROP TABLE entries",
        "CREATE TABLE aside AS SELECT * FROM entries; DROP TABLE entries; CREATE VIEW entries AS SELECT * FROM aside",
        "CREATE TABLE notes (text VARCHAR)",
    ],
)
def test_whatever_is_done_to_the_rows_is_found_and_nothing_more_is_spent(written, sql):
    change(written, sql)
    for act in (written.verify, written.entries, written.totals, lambda: written.reserve(spend(0.1), 4.0)):
        with pytest.raises(LedgerBroken, match="does not verify") as refused:
            act()
        assert "\n" not in str(refused.value)


def test_a_row_that_is_rehashed_after_it_was_altered_breaks_the_chain(written):
    first = written.entries()[0]
    cheaper = replace(first, epsilon=0.01)
    cheaper = replace(cheaper, digest=digest_of(cheaper))
    change(written, f"UPDATE entries SET epsilon = 0.01, digest = '{cheaper.digest}' WHERE number = 1")
    with pytest.raises(LedgerBroken, match="row 2"):
        written.verify()


def test_any_altered_byte_is_found(written):
    whole = written.path.read_bytes()
    for place in [*range(0, 16_384, 509), *range(16_384, len(whole), 40_009), len(whole) - 1]:
        written.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LedgerBroken):
            written.verify()
    written.path.write_bytes(whole)
    assert len(written.verify()) == 3


@pytest.mark.parametrize("kept", [0, 100, 5_000, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_found(written, kept):
    whole = written.path.read_bytes()
    written.path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(LedgerBroken):
        written.verify()


def test_a_file_that_was_put_back_from_before_is_found(ledger):
    ledger.reserve(spend(0.5), 4.0)
    before = ledger.path.read_bytes()
    ledger.reserve(spend(0.5), 4.0)
    ledger.path.write_bytes(before)
    with pytest.raises(LedgerBroken, match="1 of 2"):
        ledger.verify()


def test_a_file_or_head_that_is_gone_is_missed(written):
    head = written.head.read_text()
    for text in ("", "{", "[]", '{"n_entries": -1, "digest": "", "file_sha256": ""}', '{"n_entries": 3}'):
        written.head.write_text(text)
        with pytest.raises(LedgerBroken, match="cannot be read"):
            written.verify()
    written.head.unlink()
    with pytest.raises(LedgerBroken, match="is gone"):
        written.verify()
    written.head.write_text(head)
    written.path.unlink()
    with pytest.raises(LedgerBroken, match="had 3 rows"):
        written.verify()


def test_a_whole_ledger_made_anew_is_found_only_by_what_was_kept_elsewhere(written, tmp_path):
    """What no chain can find by itself, said as a test."""
    kept = written.entries()[1].id
    for path in (written.path, written.head):
        path.unlink()
    for epsilon in (0.1, 0.1, 0.1):
        written.reserve(spend(epsilon), 4.0)
    assert len(written.verify()) == 3
    with pytest.raises(LedgerBroken, match=kept):
        written.verify([kept])


def test_what_another_program_left_half_written_is_found(written):
    written.path.with_name(f"{written.path.name}.wal").write_bytes(b"x")
    with pytest.raises(LedgerBroken, match="another program"):
        written.verify()


# The ugly


def test_a_writer_that_died_before_the_head_followed_leaves_a_ledger_that_verifies(ledger):
    ledger.reserve(spend(0.5), 4.0)
    head = ledger.head.read_text()
    ledger.reserve(spend(0.25), 4.0)
    ledger.head.write_text(head)
    assert [row.epsilon for row in ledger.verify()] == [0.5, 0.25]
    ledger.reserve(spend(0.25), 4.0)
    assert json.loads(ledger.head.read_text())["n_entries"] == 3


def test_a_writer_that_died_before_the_first_row_leaves_a_ledger_that_verifies(ledger, monkeypatch):
    monkeypatch.setattr("ehr_pipeline.privacy.ledger._insert", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ledger.reserve(spend(0.5), 4.0)
    monkeypatch.undo()
    assert ledger.verify() == []
    assert ledger.reserve(spend(0.5), 4.0).startswith("1-")


SPENDER = """
import sys, time
from pathlib import Path
from ehr_pipeline.errors import BudgetExceeded
from ehr_pipeline.privacy.ledger import EVERYONE, Entry, Ledger
ledger = Ledger(Path(sys.argv[1]))
said = {"kind": "spend", "universe": EVERYONE, "source": "c", "generator": "g", "why": "t"}
entry = Entry(epsilon=float(sys.argv[2]), delta=1e-9, **said)
print("ready", flush=True)
sys.stdin.readline()
try:
    for _ in range(int(sys.argv[3])):
        print(ledger.reserve(entry, 1.0), flush=True)
except BudgetExceeded as refused:
    print("refused", flush=True)
"""


def spender(ledger, epsilon, times):
    arguments = [sys.executable, "-c", SPENDER, str(ledger.path), str(epsilon), str(times)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_cannot_both_spend_the_last_of_a_budget(ledger):
    ledger.reserve(spend(0.6), 1.0)
    processes = [spender(ledger, 0.4, 1) for _ in range(2)]
    for process in processes:
        go(process)
    said = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert said[0].startswith("2-") and said[1] == "refused"
    assert [row.epsilon for row in ledger.verify()] == [0.6, 0.4]


def test_a_process_that_is_killed_while_it_writes_leaves_a_ledger_that_verifies(ledger):
    """At any moment: what was said to be reserved stands, and the chain holds."""
    n_before = 0
    for k in range(4):
        process = spender(ledger, 1e-6, 10_000)
        go(process)
        first = process.stdout.readline()
        time.sleep(0.05 + 0.037 * k)
        os.kill(process.pid, signal.SIGKILL)
        said = [first, *process.communicate()[0].splitlines()]
        rows = ledger.verify()
        assert len(rows) >= n_before + len([line for line in said if "-" in line and len(line.strip()) > 16])
        n_before = len(rows)
    ledger.reserve(spend(0.5), 1.0)
    assert not list(ledger.path.parent.glob(".writing-*"))  # what the killed ones left is swept


def test_a_folder_that_cannot_be_written_to_stops_the_run_in_one_line():
    with pytest.raises(OptionError, match="cannot be written") as refused:
        Ledger(DataFolder.find("/proc/nowhere").ledger).reserve(spend(0.1), 1.0)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_ledger_is_refused(ledger):
    ledger.reserve(spend(0.1), 1.0)
    ledger.path.write_text("CREATE TABLE entries")
    with pytest.raises(LedgerBroken, match="no ledger"):
        ledger.verify()


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(max_size=40),
    epsilon=st.floats(0, 1e6, allow_nan=False),
    tree=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_a_row_and_its_digest_survive_being_stored_whatever_names_say(text, epsilon, tree):
    row = row_of(spend(epsilon, source=text, why=text, mechanisms={"tree": tree}), number=1, previous="0" * 64)
    assert read(stored(row)) == row and digest_of(read(stored(row))) == row.digest
    assert digest_of(replace(row, source=text + "x")) != row.digest


def test_hostile_names_are_kept_word_for_word_and_run_nothing(ledger):
    name = "x'); DROP TABLE entries; --\n\x1b[2J\"\0é"
    ledger.reserve(spend(0.1, source=name, universe=name, generator=name, why=name), 1.0)
    (row,) = ledger.verify()
    assert row.source == row.universe == row.generator == row.why == name
