"""What EHR-Safe has beyond the contract of timelines: parts, options, resuming, ends, many codes."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.configs import EHRSafeConfig
from ehr_pipeline.generators.ehr_safe import EHRSafe
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.generators.test_record_arrays import many_codes
from ehr_pipeline_tests.timelines.events import stays

QUICK = {"updates": 20, "category_updates": 20, "gan_updates": 20, "hidden": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def fitted() -> EHRSafe:
    config = EHRSafeConfig(**{**QUICK, "updates": 120, "learning_rate": 5e-3, "latent": 16, "latent_noise": 0.3})
    return EHRSafe.fit(timeline_cohort(stays(120)), config)


def test_every_part_shows_its_losses(fitted):
    assert [record["epoch"] for record in fitted.history] == list(range(1, len(fitted.history) + 1))
    assert {record["part"] for record in fitted.history} == {1, 2, 3, 4}
    assert all(np.isfinite(record["loss"]) for record in fitted.history)


def test_death_comes_last_once_and_about_as_often_as_in_the_data(fitted):
    made = fitted.sample(600, seed=0)
    deaths = made[made["code"] == "MEDS_DEATH"]
    assert not deaths["subject_id"].duplicated().any()
    last = made.groupby("subject_id")["time"].max()
    assert (deaths["time"].to_numpy() == last.loc[deaths["subject_id"]].to_numpy()).all()
    assert 0.05 < len(deaths) / 600 < 0.35


def test_conditions_bring_what_goes_with_them(fitted):
    """Women are 70 and men 50 years old."""
    made = fitted.sample(200, seed=0, conditions={"GENDER": "GENDER//F"})
    assert made.loc[made["code"] == "Age", "numeric_value"].mean() > 62
    made = fitted.sample(200, seed=0, conditions={"Age": 50})
    assert (made.loc[made["code"] == "Age", "numeric_value"] == 50).all()
    assert (made["code"] == "GENDER//M").sum() > 130


@pytest.mark.parametrize("conditions", [{"GENDER": "GENDER//X"}, {"Age": "old"}])
def test_levels_that_are_not_there_are_refused_in_one_line(fitted, conditions):
    with pytest.raises(OptionError, match="static fact") as refusal:
        fitted.sample(1, seed=0, conditions=conditions)
    assert "\n" not in str(refusal.value)


def test_the_exact_variant_says_so_in_its_notes_and_gives_single_values_back():
    frame = stays()
    frame.loc[(frame["subject_id"] == 1007) & (frame["code"] == "BP"), "numeric_value"] = 555.5
    cohort = timeline_cohort(frame)
    highest = {}
    for exact in (False, True):
        generator = EHRSafe.fit(cohort, EHRSafeConfig(**QUICK, exact_values=exact))
        made = generator.sample(2000, seed=0)
        highest[exact] = made.loc[made["code"] == "BP", "numeric_value"].max()
        assert any("exact_values" in note for note in generator.notes) == exact
    assert highest[False] < 150
    assert highest[True] == 555.5


def test_an_interrupted_fit_ends_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr("ehr_pipeline.generators.checkpoint.SECONDS_BETWEEN", 0.0)
    cohort, config = timeline_cohort(stays()), EHRSafeConfig(**QUICK)

    class Stop(Exception):
        pass

    def stop(step) -> None:
        if "records" in step.task and step.done == 1:
            raise Stop

    whole = EHRSafe.fit(cohort, config).sample(20, seed=1)
    with pytest.raises(Stop):
        EHRSafe.fit(cohort, config, None, stop, checkpoint=tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "records").is_dir()
    resumed = EHRSafe.fit(cohort, config, checkpoint=tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "checkpoint")
    pd.testing.assert_frame_equal(whole, resumed.sample(20, seed=1))


def test_many_codes_are_drawn_as_sets_without_repeats():
    generator = EHRSafe.fit(timeline_cohort(many_codes()), EHRSafeConfig(**QUICK))
    made = generator.sample(60, seed=0)
    rare = made[made["code"].isin(generator.layout.rare)]
    assert len(rare)
    assert not rare.duplicated(["subject_id", "time", "code"]).any()


def test_too_few_patients_are_refused_in_one_line():
    cohort = timeline_cohort(stays(5))
    few = type(cohort)(
        events=cohort.events[cohort.patient < 3].reset_index(drop=True), origin=cohort.origin[:3], clock=cohort.clock
    )
    with pytest.raises(DefinitionError, match="at least 5 patients"):
        EHRSafe.fit(few, EHRSafeConfig(**QUICK))
