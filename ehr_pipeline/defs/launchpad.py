"""The launchpad's forms: a generator's own config, as Dagster wants it."""

from __future__ import annotations

import typing
from typing import Any

import dagster as dg
import pydantic

from ehr_pipeline.generators.base import GeneratorConfig


def form_of(config_type: type[GeneratorConfig]) -> type[dg.Config]:
    """A `dg.Config` with the fields of `config_type`: same names, defaults, limits and descriptions.

    Dagster knows no tuples, so a tuple field is a list in the form.
    """
    fields: dict[str, Any] = {
        name: (_as_list(field.annotation), _with_default(field)) for name, field in config_type.model_fields.items()
    }
    return pydantic.create_model(f"{config_type.__name__}Form", __base__=dg.Config, **fields)


def config_from(form: dg.Config, config_type: type[GeneratorConfig]) -> GeneratorConfig:
    """The generator's config that a filled form means."""
    return config_type.model_validate(form.model_dump())


def _as_list(annotation: Any) -> Any:
    is_tuple = typing.get_origin(annotation) is tuple
    return list[typing.get_args(annotation)[0]] if is_tuple else annotation


def _with_default(field: pydantic.fields.FieldInfo) -> Any:
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return pydantic.Field(default, description=field.description)
