"""The launchpad's forms: a generator's own config, as Dagster wants it, and the budget of its training."""

from __future__ import annotations

import typing
from typing import Any

import dagster as dg
import pydantic

from ehr_pipeline.cohort import CohortDefinition
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.privacy.account import asked_budget
from ehr_pipeline.privacy.budget import Budget


class PrivacyForm(dg.Config):
    """What a training may spend of its patients' privacy."""

    epsilon: float | None = pydantic.Field(
        None, description="privacy budget per patient; 0 means none, empty means what the cohort's file says"
    )
    delta: float | None = pydantic.Field(None, description="chance that the budget does not hold (1e-6)")
    universe: str | None = pydantic.Field(
        None, description="name of these patients, if they are others than all others of this data folder"
    )


def budget_from(form: PrivacyForm, definition: CohortDefinition) -> Budget | None:
    """The budget that a filled form means for a cohort.

    Raises
    ------
    OptionError
        Its epsilon or delta is no budget.
    """
    if form.epsilon is None and form.delta is None and definition.privacy is not None:
        return Budget(epsilon=definition.privacy.epsilon, delta=definition.privacy.delta)
    return None if form.epsilon == 0 and form.delta is None else asked_budget(form.epsilon, form.delta)


def form_of(config_type: type[GeneratorConfig]) -> type[dg.Config]:
    """A `dg.Config` with the fields of `config_type` (same names, defaults, limits, descriptions) and the budget's.

    Dagster knows no tuples, so a tuple field is a list in the form.
    """
    fields: dict[str, Any] = {
        name: (_as_list(field.annotation), _with_default(field)) for name, field in config_type.model_fields.items()
    }
    return pydantic.create_model(f"{config_type.__name__}Form", __base__=PrivacyForm, **fields)


def config_from(form: dg.Config, config_type: type[GeneratorConfig]) -> GeneratorConfig:
    """The generator's config that a filled form means."""
    return config_type.model_validate(form.model_dump(include=set(config_type.model_fields)))


def _as_list(annotation: Any) -> Any:
    is_tuple = typing.get_origin(annotation) is tuple
    return list[_as_list(typing.get_args(annotation)[0])] if is_tuple else annotation


def _with_default(field: pydantic.fields.FieldInfo) -> Any:
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return pydantic.Field(default, description=field.description)
