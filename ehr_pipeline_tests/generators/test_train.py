"""Training patients only, models put in place whole, chunks, the registry."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pandas as pd
import pytest

from ehr_pipeline.errors import DefinitionError, NotReady, OptionError
from ehr_pipeline.generators import checkpoint
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.configs import IndependentConfig, TabularVAEConfig
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.generators.registry import GENERATORS, default_generators, generator_type
from ehr_pipeline.generators.sampling import draw_chunks
from ehr_pipeline.generators.train import data_fingerprint, load_model, train
from ehr_pipeline.storage import CohortFolder, GeneratorFolder, write_json, write_parquet
from ehr_pipeline_tests.generators.tables import mixed_cohort, mixed_schema


class Interrupted(Exception):
    """What a test throws in place of a killed process."""


def cohort_folder(root, split: pd.DataFrame) -> CohortFolder:
    folder = CohortFolder(root / "cohort")
    cohort = mixed_cohort(100, rows_per_patient=2)
    write_json(folder.schema, mixed_schema().model_dump(mode="json"))
    write_parquet(folder.prepared_table, cohort.table.assign(subject_id=cohort.subject_id))
    write_parquet(folder.split, split)
    return folder


def split_of(n_train: int) -> pd.DataFrame:
    return pd.DataFrame({"subject_id": range(50), "split": ["train"] * n_train + ["holdout"] * (50 - n_train)})


def test_holdout_patient_never_trains(tmp_path):
    cohort = load_training_cohort(cohort_folder(tmp_path, split_of(30)))
    assert set(cohort.subject_id) == set(range(30))
    assert len(cohort.table) == 60
    pd.testing.assert_frame_equal(cohort.table, mixed_cohort(100).table.head(60), check_dtype=True)


def test_patient_that_the_split_does_not_name_never_trains(tmp_path):
    cohort = load_training_cohort(cohort_folder(tmp_path, split_of(50).drop(index=[3, 4])))
    assert not {3, 4} & set(cohort.subject_id)


def test_no_training_patient_is_one_clear_line(tmp_path):
    with pytest.raises(DefinitionError, match="no training patient"):
        load_training_cohort(cohort_folder(tmp_path, split_of(0)))


def test_cohort_that_is_not_prepared_is_not_ready(tmp_path):
    with pytest.raises(NotReady, match="prepare the cohort first"):
        load_training_cohort(CohortFolder(tmp_path))


def test_model_file_says_what_made_it(tmp_path):
    cohort, folder = mixed_cohort(80), GeneratorFolder(tmp_path / "tabular_vae")
    summary = train("tabular_vae", cohort, TabularVAEConfig(updates=20, seed=3, device="cpu"), folder)
    said = json.loads((folder.model / "model.json").read_text())
    assert (said["generator"], said["seed"], said["device"]) == ("tabular_vae", 3, "cpu")
    assert said["config"]["updates"] == 20
    assert said["data_fingerprint"] == data_fingerprint(cohort) == summary.data_fingerprint
    assert said["versions"]["torch"]
    assert said["history"] == summary.history
    assert (summary.n_rows, summary.n_patients, summary.left_out) == (80, 80, ["note", "number"])


def test_fingerprint_changes_with_one_value_one_patient_and_the_schema():
    cohort = mixed_cohort(50)
    value = mixed_cohort(50)
    value.table.loc[0, "age"] += 0.1
    patient = mixed_cohort(50, rows_per_patient=2)
    prints = {data_fingerprint(one) for one in (cohort, value, patient)}
    assert len(prints) == 3
    assert data_fingerprint(mixed_cohort(50)) in prints


def test_interrupted_training_leaves_the_old_model_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    cohort, folder = mixed_cohort(200), GeneratorFolder(tmp_path / "tabular_vae")
    config = TabularVAEConfig(updates=60, device="cpu")
    train("tabular_vae", cohort, config, folder)
    before = load_model(folder).sample(50, 0)

    def stop(step):
        if step.done == 2:
            raise Interrupted

    other = config.model_copy(update={"seed": 1})
    with pytest.raises(Interrupted):
        train("tabular_vae", cohort, other, folder, stop)
    pd.testing.assert_frame_equal(load_model(folder).sample(50, 0), before)
    assert folder.checkpoint.exists()
    epochs: list[int] = []
    train("tabular_vae", cohort, other, folder, lambda step: epochs.append(step.done))
    assert epochs[0] == 3
    assert not folder.checkpoint.exists()
    uninterrupted = GeneratorFolder(tmp_path / "again")
    train("tabular_vae", cohort, other, uninterrupted)
    pd.testing.assert_frame_equal(load_model(folder).sample(50, 0), load_model(uninterrupted).sample(50, 0))


def test_model_that_is_not_there_is_not_ready(tmp_path):
    with pytest.raises(NotReady, match="no model yet; train it first"):
        load_model(GeneratorFolder(tmp_path / "independent"))


def test_chunks_depend_on_seed_and_number_alone():
    generator = Independent.fit(mixed_cohort(100), IndependentConfig())
    first = list(itertools.islice(draw_chunks(generator, 1, 50), 3))
    again = list(itertools.islice(draw_chunks(generator, 1, 50), 2))
    for chunk, same in zip(first, again, strict=False):
        pd.testing.assert_frame_equal(chunk, same)
    assert not first[0].equals(first[1])
    assert not first[0].equals(next(draw_chunks(generator, 2, 50)))


def test_chunks_meet_conditions():
    generator = Independent.fit(mixed_cohort(100), IndependentConfig())
    assert (next(draw_chunks(generator, 1, 50, {"died": 1}))["died"] == 1).all()


def test_unknown_generator_names_the_known_ones():
    with pytest.raises(OptionError, match=", ".join(GENERATORS)):
        generator_type("nobody")
    assert set(default_generators()) <= set(GENERATORS)


def test_code_location_reads_the_registry_without_torch():
    code = (
        "import sys; from ehr_pipeline.generators import registry, train, sampling, cohort_data;"
        "[entry.config_type() for entry in registry.GENERATORS.values()];"
        "assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_independent_columns_keep_marginals_and_gaps_and_lose_dependence():
    cohort = mixed_cohort(20_000)
    drawn = Independent.fit(cohort, IndependentConfig()).sample(20_000, seed=0)
    for name in ("lactate", "unit", "died"):
        assert abs(drawn[name].isna().mean() - cohort.table[name].isna().mean()) < 0.02
    assert abs(drawn["visits"].mean() - cohort.table["visits"].mean()) < 0.1
    real = cohort.table[["visits", "died"]].astype(float).corr().iloc[0, 1]
    ours = drawn[["visits", "died"]].astype(float).corr().iloc[0, 1]
    assert real > 0.4
    assert abs(ours) < 0.03
