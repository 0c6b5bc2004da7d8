"""What the record promises: a schema says only valid things, and a frame can be brought to it."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.record import DTYPES, EVENT_SCHEMA, Column, Schema, conform

SCHEMA = Schema(
    columns=(
        Column(name="hba1c", kind="continuous", unit="%", minimum=3, maximum=20, decimals=2),
        Column(name="visits", kind="integer", minimum=0),
        Column(name="diabetes", kind="binary", missing=False),
        Column(name="sex", kind="categorical", levels=("F", "M"), role="sensitive"),
    )
)


def test_events_are_a_meds_table():
    import meds

    assert set(meds.DataSchema.schema().names) <= set(EVENT_SCHEMA.names)


def test_conform_gives_each_column_the_dtype_of_its_kind_and_drops_the_rest():
    frame = pd.DataFrame(
        {"sex": ["F", None], "diabetes": [1.0, np.nan], "visits": ["3", None], "hba1c": [6, 7], "x": 1}
    )
    conformed = conform(frame, SCHEMA)
    assert list(conformed.columns) == SCHEMA.names
    assert [str(dtype) for dtype in conformed.dtypes] == [DTYPES[column.kind] for column in SCHEMA.columns]
    assert conformed.isna().sum().to_dict() == {"hba1c": 0, "visits": 1, "diabetes": 1, "sex": 1}


def test_conform_works_on_no_rows():
    assert len(conform(pd.DataFrame(columns=SCHEMA.names), SCHEMA)) == 0


def test_a_column_of_the_wrong_kind_is_named_without_its_value():
    frame = pd.DataFrame({"hba1c": ["SECRET"], "visits": [1], "diabetes": [0], "sex": ["F"]})
    with pytest.raises(DefinitionError, match="hba1c cannot be read as continuous") as caught:
        conform(frame, SCHEMA)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_absent_column_is_named():
    with pytest.raises(DefinitionError, match="visits, diabetes"):
        conform(pd.DataFrame({"hba1c": [1.0], "sex": ["F"]}), SCHEMA)


def test_the_schema_survives_json():
    assert Schema.model_validate_json(SCHEMA.model_dump_json()) == SCHEMA


@pytest.mark.parametrize(
    "columns",
    [
        [{"name": "a", "kind": "binary"}, {"name": "a", "kind": "binary"}],
        [{"name": "a", "kind": "number"}],
        [{"name": "a", "kind": "continuous", "minimum": 2, "maximum": 1}],
        [{"name": "a", "kind": "categorical", "levels": ["x", "x"]}],
        [{"name": "a", "kind": "categorical", "levels": []}],
        [{"name": "a\nb", "kind": "binary"}],
        [{"name": "a", "kind": "binary", "surprise": 1}],
    ],
)
def test_a_schema_that_says_nothing_valid_is_refused(columns):
    with pytest.raises(ValidationError):
        Schema.model_validate({"columns": columns})


def test_without_and_with_role_pick_columns():
    assert SCHEMA.without(["sex"]).names == ["hba1c", "visits", "diabetes"]
    assert [column.name for column in SCHEMA.with_role("sensitive")] == ["sex"]
    assert "sex" in SCHEMA and "x" not in SCHEMA
