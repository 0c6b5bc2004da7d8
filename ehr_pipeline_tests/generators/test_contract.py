"""What every generator of the registry promises; a new one is tested by its registry line alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.base import Generator, TrainingCohort
from ehr_pipeline.generators.registry import GENERATORS, generator_type
from ehr_pipeline.generators.train import load_model, train
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.record import DTYPES, Column, Schema, conform
from ehr_pipeline.storage import GeneratorFolder
from ehr_pipeline_tests.generators.tables import mixed_cohort, public_cohort

ALL = sorted(set(GENERATORS) - {"recombination"})
"""Recombination has public columns alone and noise without a seed in every fit: `test_recombination.py`."""


def quick_config(name: str):
    """The generator's own config with little training."""
    config_type = GENERATORS[name].config_type
    short = {"updates": 40, "private_steps": 5, "device": "cpu"}
    return config_type(**{field: value for field, value in short.items() if field in config_type.model_fields})


def fitted(name: str, cohort: TrainingCohort) -> Generator:
    return generator_type(name).fit(cohort, quick_config(name))


@pytest.fixture(scope="module", params=ALL)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def generator(name) -> Generator:
    return fitted(name, mixed_cohort())


def assert_keeps_schema(frame: pd.DataFrame, schema: Schema) -> None:
    assert list(frame.columns) == schema.names
    for column in schema.columns:
        values = frame[column.name]
        assert values.dtype == pd.Series([], dtype=DTYPES[column.kind]).dtype, column.name
        present = values.dropna()
        if not column.missing:
            assert len(present) == len(values), column.name
        if column.minimum is not None:
            assert (present >= column.minimum).all(), column.name
        if column.maximum is not None:
            assert (present <= column.maximum).all(), column.name
        if column.decimals is not None:
            assert np.array_equal(present, present.round(column.decimals)), column.name
        if column.levels is not None:
            assert set(present) <= set(column.levels), column.name
        if column.kind == "binary":
            assert set(present) <= {0, 1}, column.name


def test_registry_line_names_the_class_it_imports(name):
    entry, generator_class = GENERATORS[name], generator_type(name)
    assert (generator_class.name, generator_class.title) == (name, entry.title)
    assert generator_class.config_type is entry.config_type
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


def test_every_setting_has_a_default_and_a_description(name):
    for field in GENERATORS[name].config_type.model_fields.values():
        assert not field.is_required()
        assert field.description


def test_sampled_frame_keeps_the_schema(generator):
    assert_keeps_schema(generator.sample(500, seed=1), generator.schema)


def test_kinds_it_cannot_write_are_left_out_of_schema_and_frame(generator):
    left_out = {"note", "number"} if generator.left_out_kinds == {"text", "id"} else set()
    assert left_out.isdisjoint(generator.schema.names)
    assert not {column.kind for column in generator.schema.columns} & generator.left_out_kinds


def test_same_seed_same_frame_and_another_seed_another(generator):
    first = generator.sample(300, seed=5)
    pd.testing.assert_frame_equal(first, generator.sample(300, seed=5))
    assert not first.equals(generator.sample(300, seed=6))


def test_fitting_twice_gives_the_same_model(name, generator):
    pd.testing.assert_frame_equal(generator.sample(200, 3), fitted(name, mixed_cohort()).sample(200, 3))


def test_no_row_is_a_frame_with_the_schema(generator):
    assert_keeps_schema(generator.sample(0, seed=1), generator.schema)


def test_global_random_states_are_left_as_they_were(name):
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (this is the state under test)
    fitted(name, mixed_cohort(120)).sample(50, seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_saved_and_loaded_it_draws_the_same_bytes_and_nothing_is_a_pickle(name, tmp_path):
    folder = GeneratorFolder(tmp_path / name)
    summary = train(name, mixed_cohort(), quick_config(name), folder)
    first, second = load_model(folder), load_model(folder)
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    first.sample(300, 7).to_parquet(paths[0])
    second.sample(300, 7).to_parquet(paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert first.schema == mixed_cohort().schema.without(summary.left_out)
    files = [path for path in folder.model.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        # Safetensors: the length of a JSON header in eight bytes (of which one may be a pickle's 0x80), the header.
        n_header = int.from_bytes(content[:8], "little")
        json.loads(content if path.suffix == ".json" else content[8 : 8 + n_header])
    assert not folder.checkpoint.exists()


def test_loaded_model_is_the_fitted_one(generator, name, tmp_path):
    generator.save(tmp_path)
    pd.testing.assert_frame_equal(generator.sample(200, 1), generator_type(name).load(tmp_path).sample(200, 1))


def test_value_of_one_patient_alone_is_never_drawn(name):
    cohort = mixed_cohort(600)
    table = cohort.table.copy()
    # One patient with many rows has a drug, a lactate and a count that nobody else has.
    table.loc[:39, "drug"] = "drug of one patient"
    table.loc[:39, "lactate"] = 98.76
    table.loc[:39, "visits"] = 4321
    subject_id = cohort.subject_id.copy()
    subject_id[:40] = 0
    one = TrainingCohort(schema=cohort.schema, table=table, subject_id=subject_id)
    drawn = fitted(name, one).sample(5000, seed=0)
    assert "drug of one patient" not in set(drawn["drug"].dropna())
    assert drawn["lactate"].max() < 98.76
    assert drawn["visits"].max() < 4321


def test_text_of_a_patient_lies_in_no_model_file(name, tmp_path):
    cohort = mixed_cohort()
    table = cohort.table.assign(
        note="PLANTED-NOTE", drug=cohort.table["drug"].mask(cohort.subject_id == 3, "PLANTED-DRUG")
    )
    folder = GeneratorFolder(tmp_path / name)
    train(
        name,
        TrainingCohort(schema=cohort.schema, table=table, subject_id=cohort.subject_id),
        quick_config(name),
        folder,
    )
    assert not any(b"PLANTED" in path.read_bytes() for path in Path(folder.model).rglob("*") if path.is_file())


@pytest.mark.parametrize("n", [1, 2, 6, 30])
def test_a_handful_of_patients_is_enough(name, n):
    generator = fitted(name, mixed_cohort(n))
    assert_keeps_schema(generator.sample(40, seed=0), generator.schema)


def test_missing_everywhere_stays_missing(name):
    kinds = ("continuous", "integer", "binary", "categorical", "time")
    schema = Schema(columns=tuple(Column(name=kind, kind=kind) for kind in kinds))
    table = conform(pd.DataFrame({kind: [None] * 50 for kind in schema.names}), schema)
    frame = fitted(name, TrainingCohort(schema=schema, table=table, subject_id=np.arange(50))).sample(20, seed=0)
    assert_keeps_schema(frame, schema)
    assert frame.isna().all(axis=None)


@pytest.mark.parametrize("kinds", [("continuous",), ("categorical",), ("binary",), ("time",)])
def test_one_kind_of_column_is_enough(name, kinds):
    cohort = mixed_cohort(200)
    schema = Schema(columns=tuple(column for column in cohort.schema.columns if column.kind in kinds))
    table = cohort.table[schema.names]
    generator = fitted(name, TrainingCohort(schema=schema, table=table, subject_id=cohort.subject_id))
    assert_keeps_schema(generator.sample(50, seed=0), schema)


def test_conditions_hold_in_every_row(generator):
    conditions = {"died": "1", "unit": "MICU", "age": 70}
    frame = generator.sample(100, seed=0, conditions=conditions)
    assert len(frame) == 100
    assert (frame["died"] == 1).all()
    assert (frame["unit"] == "MICU").all()
    assert (frame["age"] == 70).all()
    assert 0 < frame.attrs["acceptance_rate"] <= 1
    assert_keeps_schema(frame, generator.schema)


@pytest.mark.parametrize(
    ("conditions", "named"),
    [
        ({"nobody": 1}, "nobody"),
        ({"died": 9}, "died"),
        ({"unit": "NICU"}, "unit"),
        ({"age": "old"}, "age"),
        ({"age": 200}, "age"),
        ({"died": None}, "died"),
        ({"never": 3}, "never"),
        ({"visits": "inf"}, "visits"),
    ],
)
def test_condition_that_cannot_be_is_refused_by_its_column(generator, conditions, named):
    with pytest.raises(OptionError, match=named):
        generator.sample(10, seed=0, conditions=conditions)


def test_budget_is_kept_or_refused_in_one_line(name):
    generator_class, cohort = generator_type(name), public_cohort()
    config, budget = quick_config(name), Budget(epsilon=0.7, delta=1e-6)
    try:
        plan = generator_class.privacy_plan(cohort.schema, config, budget)
    except OptionError as refusal:
        assert f"{name} has no private tier" in str(refusal)
        assert "\n" not in str(refusal)
        return
    generator = generator_class.fit(cohort, config, budget)
    assert generator.privacy == plan
    assert 0.95 * budget.epsilon < plan.accounted.epsilon <= budget.epsilon
    assert plan.accounted.delta <= budget.delta
    assert not generator.history
    assert generator.n_patients > 0
    assert_keeps_schema(generator.sample(50, seed=0), generator.schema)


def test_private_fit_refuses_in_one_line_what_it_would_have_to_look_up(name):
    with pytest.raises((DefinitionError, OptionError)) as refusal:
        generator_type(name).fit(mixed_cohort(50), quick_config(name), Budget(epsilon=1.0, delta=1e-5))
    assert "\n" not in str(refusal.value)
