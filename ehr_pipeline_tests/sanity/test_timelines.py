"""Synthetic timelines: whoever the cohort would not admit is rejected and counted, and both files stand or fall."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehr_pipeline.sanity.timelines as sampling
from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.cohort.synthetic import NO_INDEX_EVENT, admit
from ehr_pipeline.errors import DefinitionError, OptionError, RejectionCapReached
from ehr_pipeline.generators.configs import TimelineMarkovConfig
from ehr_pipeline.generators.timeline_data import load_timeline_cohort, timelines_fingerprint
from ehr_pipeline.generators.train import load_model, require_present_data, train
from ehr_pipeline.ingest import ingest
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.prepare.timelines import prepare_timelines
from ehr_pipeline.prepare.unfold import StayKind, unfold
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.sanity.timelines import sample_timelines
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder, atomic_file, read_json

COHORT, MARKOV = "icu_48h", "timeline_markov"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A cohort of 150 simulated patients, prepared, with a Markov model."""
    folder = tmp_path_factory.mktemp("timelines")
    simulate_hospital(150, folder / "hospital", seed=3)
    data, definition = DataFolder(folder / "data"), load_definitions()[COHORT]
    ingest([folder / "hospital"], data)
    build_cohort(definition, data)
    prepare_cohort(definition, data)
    prepare_timelines(definition, data)
    own = data.cohort(COHORT)
    check_prepared(own)
    fingerprint = timelines_fingerprint(own)
    train(MARKOV, load_timeline_cohort(own), TimelineMarkovConfig(), own.generator(MARKOV), fingerprint=fingerprint)
    return own, definition


def test_real_stays_folded_and_unfolded_give_the_same_patient_table(cohort):
    """So a synthetic table means what the real one means, column by column."""
    folder, definition = cohort
    stays = pq.read_table(folder.prepared_timelines)
    stays = stays.set_column(0, "subject_id", pa.array(stays["member"].to_numpy() + 1))
    made = unfold(stays.drop_columns(["member", "hadm_id", "stay_id"]), StayKind.of(definition))
    admitted = admit(definition, made.events)
    real = pd.read_parquet(folder.table)
    assert not admitted.excluded
    pd.testing.assert_frame_equal(admitted.table.drop(columns="subject_id"), real.drop(columns="subject_id"))


def test_who_is_not_admitted_is_counted_once_under_the_first_criterion(cohort):
    _, definition = cohort
    begin = pd.Timestamp("2000-01-01 10:00")
    rows = []
    for subject_id, birth, has_stay in ((1, "1960-01-01", True), (2, "1970-01-01", True), (3, "1950-01-01", False)):
        rows += [(subject_id, None, "GENDER//F"), (subject_id, pd.Timestamp(birth), "MEDS_BIRTH")]
        rows += [(subject_id, begin, "ADMISSION//URGENT"), (subject_id, begin + pd.Timedelta("3D"), "DISCHARGE//HOME")]
        if has_stay:
            rows += [
                (subject_id, begin, "ICU_ADMISSION//A"),
                (subject_id, begin + pd.Timedelta("1D"), "ICU_DISCHARGE//A"),
            ]
    table = pd.DataFrame(rows, columns=["subject_id", "time", "code"])
    table["hadm_id"] = table["stay_id"] = 100 * table["subject_id"] + 1
    table["numeric_value"], table["text_value"] = np.float32("nan"), None
    stays = pa.Table.from_pandas(table[EVENT_SCHEMA.names], schema=EVENT_SCHEMA, preserve_index=False)
    age = definition.population.model_copy(
        update={"age_years": definition.population.age_years.model_copy(update={"minimum": 18, "maximum": 39})}
    )
    found = admit(definition.model_copy(update={"population": age}), stays)
    assert found.table["subject_id"].tolist() == [2]
    assert {title: patients.tolist() for title, patients in found.excluded.items()} == {
        NO_INDEX_EVENT: [3],
        "Age 18 to 39 years": [1],
    }


def test_events_and_table_are_of_the_same_new_patients(cohort):
    folder, definition = cohort
    schema, sanity = sample_timelines(folder, definition, MARKOV, rows=70, seed=1)
    files = folder.generator(MARKOV)
    events, table = pd.read_parquet(files.events), pd.read_parquet(files.synthetic)
    assert pq.read_schema(files.events).names == EVENT_SCHEMA.names
    assert sanity.passed
    assert len(table) == events["subject_id"].nunique() == sanity.accounting.n_accepted == 70
    assert not set(events["subject_id"]) & set(pd.read_parquet(folder.members)["subject_id"])
    assert list(table.columns) == schema.names
    with duckdb.connect() as con:  # row k is the k-th patient
        con.register("events", events)
        sexes = con.sql(
            "SELECT min(code) c FROM events WHERE code LIKE 'GENDER%' GROUP BY subject_id ORDER BY subject_id"
        )
        assert (sexes.df()["c"].str[-1].to_numpy() == table["sex"].str[0].str.upper().to_numpy()).all()
    record = read_json(files.sanity)
    assert {"table_sha256", "events_sha256"} <= record.keys()
    assert record["accounting"]["n_drawn"] >= 70
    before = (files.events.read_bytes(), files.synthetic.read_bytes())
    sample_timelines(folder, definition, MARKOV, rows=70, seed=1)
    assert (files.events.read_bytes(), files.synthetic.read_bytes()) == before
    for path in (files.events, files.synthetic, files.sanity):
        assert path.stat().st_mode & 0o777 == 0o600


class Children:
    """A model whose patients are all too young."""

    def __init__(self, model):
        self.model = model

    def sample(self, n, seed):
        events = self.model.sample(n, seed)
        first = events[events["time"].notna() & (events["code"] != "MEDS_BIRTH")]["time"].min()
        is_birth = events["code"] == "MEDS_BIRTH"
        events.loc[is_birth, "time"] = first - pd.Timedelta(days=5_000)
        return events


def test_nothing_is_left_where_the_cohort_admits_nobody(cohort, monkeypatch):
    folder, definition = cohort
    files = folder.generator(MARKOV)
    sample_timelines(folder, definition, MARKOV, rows=5)
    monkeypatch.setattr(sampling, "load_model", lambda files: Children(load_model(files)))
    with pytest.raises(RejectionCapReached, match=r"cohort\[Age 18 to 120 years\] \(100.0%\)"):
        sample_timelines(folder, definition, MARKOV, rows=5)
    assert not files.events.exists()
    assert not files.synthetic.exists()
    assert not files.sanity.exists()


def test_a_process_that_is_killed_leaves_what_stood_there(cohort):
    folder, definition = cohort
    files = folder.generator(MARKOV)
    sample_timelines(folder, definition, MARKOV, rows=5)
    before = {path: path.read_bytes() for path in (files.events, files.synthetic, files.sanity)}
    script = (
        "import os, sys; from pathlib import Path; import ehr_pipeline.sanity.timelines as t;"
        "from ehr_pipeline.cohort import load_definitions; from ehr_pipeline.storage import DataFolder;"
        "t.write_accepted.__globals__['check_table'] = lambda *a, **k: os.kill(os.getpid(), 9);"
        f"t.sample_timelines(DataFolder(Path(sys.argv[1])).cohort('{COHORT}'), load_definitions()['{COHORT}'],"
        f" '{MARKOV}', rows=7, seed=4)"
    )
    data = folder.root.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)], check=False, capture_output=True, env=dict(os.environ)
    )
    assert done.returncode == -9
    assert {path: path.read_bytes() for path in before} == before
    with atomic_file(files.synthetic):  # the next writer sweeps what was left
        assert len(list(files.root.glob(".writing-*"))) == 1


def test_only_training_patients_are_learned_from(cohort):
    folder, _ = cohort
    learned = load_timeline_cohort(folder)
    members, split = pd.read_parquet(folder.members), pd.read_parquet(folder.split)
    own = members["subject_id"].to_numpy()[learned.events["subject_id"].unique() - 1]
    assert set(own) == set(split.loc[split["split"] == "train", "subject_id"])
    assert learned.clock.window_minutes == 48 * 60
    timed = learned.minutes[~learned.is_static & (learned.events["code"] != "MEDS_BIRTH").to_numpy()]
    assert timed.min() == 0
    assert timed.max() <= 48 * 60
    assert (learned.events["time"].isna() | (learned.events["code"] != "")).all()
    assert not learned.events["code"].cat.categories.isna().any()


def test_a_cohort_without_training_patients_is_refused(cohort, tmp_path):
    folder, _ = cohort
    split = pd.read_parquet(folder.split)
    kept = folder.split.read_bytes()
    try:
        split.assign(split="holdout").to_parquet(folder.split, index=False)
        with pytest.raises(DefinitionError, match="no training patient"):
            load_timeline_cohort(folder)
    finally:
        folder.split.write_bytes(kept)


def test_a_private_fit_needs_a_public_window(cohort):
    folder, _ = cohort
    kept = folder.timelines_summary.read_text()
    try:
        folder.timelines_summary.write_text(json.dumps(json.loads(kept) | {"hours_after": None}))
        assert load_timeline_cohort(folder).clock.window_minutes <= 48 * 60
        with pytest.raises(OptionError, match="hours_after"):
            load_timeline_cohort(folder, is_private=True)
    finally:
        folder.timelines_summary.write_text(kept)


def test_a_model_of_other_timelines_is_not_sampled(cohort):
    folder, _ = cohort
    require_present_data(folder, MARKOV)
    kept = folder.timelines_summary.read_text()
    try:
        folder.timelines_summary.write_text(kept + "\n")
        with pytest.raises(Exception, match="train it again"):
            require_present_data(folder, MARKOV)
    finally:
        folder.timelines_summary.write_text(kept)
