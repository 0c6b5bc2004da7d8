"""What every generator of timelines promises; a new one is tested by its registry line alone."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.registry import (
    GENERATORS,
    TIMELINE_GENERATORS,
    default_timeline_generator,
    generator_type,
    timeline_generator_type,
)
from ehr_pipeline.generators.timelines import BIRTH, EVENT_COLUMNS, TimelineGenerator
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays


def quick_config(name: str):
    """The generator's own config with little training."""
    config_type = TIMELINE_GENERATORS[name].config_type
    updates = {"updates": 10, "category_updates": 10, "gan_updates": 10, "plan_updates": 10}
    short = {**updates, "gap_rounds": 1, "device": "cpu"}
    return config_type(**{field: value for field, value in short.items() if field in config_type.model_fields})


@pytest.fixture(scope="module", params=TIMELINE_GENERATORS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["one clock", "calendars"])
def cohort(request):
    return timeline_cohort(stays(is_calendar=request.param))


@pytest.fixture(scope="module")
def generator(name, cohort) -> TimelineGenerator:
    return timeline_generator_type(name).fit(cohort, quick_config(name))


def test_registry_lines_name_the_class_they_import_and_no_name_stands_twice(name):
    entry, kind = TIMELINE_GENERATORS[name], timeline_generator_type(name)
    assert (kind.name, kind.title, kind.config_type) == (name, entry.title, entry.config_type)
    assert all(field.description for field in entry.config_type.model_fields.values())
    assert not GENERATORS.keys() & TIMELINE_GENERATORS.keys()
    assert default_timeline_generator() in TIMELINE_GENERATORS


def test_a_generator_of_the_other_kind_is_refused_with_those_that_there_are(name):
    with pytest.raises(OptionError, match="independent"):
        generator_type(name)
    with pytest.raises(OptionError, match=name):
        timeline_generator_type("independent")


def test_events_are_sorted_typed_and_inside_the_window(generator):
    made = generator.sample(40, seed=1)
    assert list(made.columns) == list(EVENT_COLUMNS)
    assert [str(dtype) for dtype in made.dtypes] == ["int64", "datetime64[us]", "category", "float32", "category"]
    assert set(made["subject_id"]) == set(range(1, 41))
    again = made.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(made, again)
    timed = made[made["time"].notna() & (made["code"] != BIRTH)]
    assert timed["time"].min() >= pd.Timestamp(generator.clock.start)
    assert timed["time"].max() <= pd.Timestamp(generator.clock.start) + pd.Timedelta(
        minutes=generator.clock.window_minutes, days=0 if generator.clock.is_shared else 1
    )
    assert (timed["time"] == timed["time"].dt.floor("min")).all()
    assert not np.isinf(made["numeric_value"]).any()


def test_births_lie_before_all_other_events(generator):
    made = generator.sample(200, seed=1)
    births = made[made["code"] == BIRTH].groupby("subject_id")["time"].max()
    others = made[made["code"] != BIRTH].groupby("subject_id")["time"].min()
    assert (births <= others.reindex(births.index)).all()


def test_same_seed_same_events_and_another_seed_others(generator):
    first = generator.sample(30, seed=5)
    pd.testing.assert_frame_equal(first, generator.sample(30, seed=5))
    assert not first.equals(generator.sample(30, seed=6))


def test_fitting_twice_gives_the_same_model(name, cohort, generator):
    again = timeline_generator_type(name).fit(cohort, quick_config(name))
    pd.testing.assert_frame_equal(generator.sample(30, 3), again.sample(30, 3))


def test_saved_and_loaded_it_draws_the_same_and_nothing_is_a_pickle(generator, name, tmp_path):
    generator.save(tmp_path)
    loaded = timeline_generator_type(name).load(tmp_path)
    pd.testing.assert_frame_equal(generator.sample(30, 7), loaded.sample(30, 7))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        n_header = int.from_bytes(content[:8], "little")
        json.loads(content if path.suffix == ".json" else content[8 : 8 + n_header])


def test_nobody_is_a_frame_with_the_columns(generator):
    made = generator.sample(0, seed=0)
    assert list(made.columns) == list(EVENT_COLUMNS)
    assert not len(made)


def test_conditions_hold_for_every_patient_and_unknown_ones_are_refused(generator):
    made = generator.sample(40, seed=0, conditions={"GENDER": "GENDER//F"})
    assert (made["code"] == "GENDER//F").sum() == 40
    assert not (made["code"] == "GENDER//M").any()
    with pytest.raises(OptionError, match="nobody"):
        generator.sample(1, seed=0, conditions={"nobody": 1})


def test_what_one_patient_alone_has_is_never_drawn_and_lies_in_no_file(name, tmp_path):
    frame = stays()
    one = (frame["subject_id"] == 1007).to_numpy()
    frame.loc[one & (frame["code"] == "HR"), "code"] = "PLANTED-CODE"
    frame.loc[one & (frame["code"] == "GENDER//M"), "code"] = "GENDER//PLANTED"
    frame.loc[one & (frame["code"] == "BP"), "numeric_value"] = 98765.0
    frame.loc[one & (frame["code"] == "Age"), "numeric_value"] = 119.0
    frame.loc[one & (frame["code"] == "RHYTHM"), "text_value"] = "PLANTED-TEXT"
    generator = timeline_generator_type(name).fit(timeline_cohort(frame), quick_config(name))
    made = generator.sample(400, seed=0)
    assert not made["code"].astype(str).str.contains("PLANTED").any()
    assert "PLANTED-TEXT" not in set(made["text_value"].dropna())
    assert made["numeric_value"].max() < 200
    assert made.loc[made["code"] == "Age", "numeric_value"].max() < 119
    generator.save(tmp_path)
    assert not any(b"PLANTED" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_static_facts_alone_and_events_alone_are_enough(name):
    frame = stays()
    for part in (frame[frame["time"].notna()], frame[frame["time"].isna() | (frame["subject_id"] < 1010)]):
        generator = timeline_generator_type(name).fit(timeline_cohort(part), quick_config(name))
        assert len(generator.sample(20, seed=0))


def test_a_budget_is_kept_or_refused_in_one_line(name, cohort):
    try:
        generator = timeline_generator_type(name).fit(cohort, quick_config(name), Budget(epsilon=1.0, delta=1e-6))
    except (OptionError, DefinitionError) as refusal:
        assert "\n" not in str(refusal)
        return
    assert generator.privacy.accounted.epsilon <= 1.0
