"""The release policy: what a hospital asks of anything that leaves it, with a default and a reason for each line.

What belongs here: `policy.yaml`, read strictly, and its defaults. What does not: holding a release to it (`gate.py`);
the reasons of the limits of scores (`evaluate/thresholds.py`).
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.storage import DataFolder

PAGE_WIDTH = 110
Quality = Literal["fidelity", "utility", "causal", "plausibility"]


class Policy(BaseModel):
    """What must hold before anything is released. Sanity and privacy always gate; no field switches them off."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epsilon_cap: float = Field(
        4.0,
        gt=0,
        description="most that all private fits on the same patients may spend together; epsilons add up. At 4, "
        "nobody's odds of being found out, whatever an attacker asks, grow more than 55-fold (e^4); most public "
        "releases of health data that name a number lie between 1 and 10",
    )
    delta_cap: float = Field(
        1e-4,
        gt=0,
        lt=1,
        description="most that the deltas of these fits may add up to: the chance that the promise does not hold. "
        "Each fit's own delta should be far below one over the number of patients",
    )
    non_private_tier: bool = Field(
        True,
        description="whether a model without a budget may be released at all, with `--tier non-private` said out "
        "loud; it is labelled so everywhere and counts as epsilon infinity from then on",
    )
    minimum_patients: int = Field(
        100,
        ge=2,
        description="patients that training and holdout need each; with fewer, no attack can show anything",
    )
    required_attacks: tuple[str, ...] = Field(
        ("copies", "membership"),
        min_length=1,
        description="words that must stand in the name of an attack that ran, found the leak planted for it, and has "
        "a passed score. Every other attack that ran must have found its leak and have no failed score too. Of a "
        "generator of timelines the same is asked of its events",
    )
    limits: dict[str, float] = Field(
        {},
        validate_default=True,
        description="limits of the scores that differ from the defaults; evaluation judges by them, so a change asks "
        "for a new evaluation",
    )
    quality_gates: tuple[Quality, ...] = Field(
        (),
        description="which of fidelity, utility, causal, plausibility refuse a release too; of timelines the gates of "
        "their events count as well (mean_normalised is fidelity, tstr_auc utility, implausible_share plausibility). "
        "None by default: poor quality harms no patient, and a strong budget costs quality; the bundle says which of "
        "them passed and which failed",
    )
    approvers: int = Field(
        0,
        ge=0,
        description="how many different people must be named with --approved-by; 2 makes it a two-person decision. "
        "The names are recorded, not proved",
    )

    @field_validator("limits")
    @classmethod
    def _limits_are_known(cls, limits: dict[str, float]) -> dict[str, float]:
        known = [field.name for field in fields(Thresholds) if field.name != "min_patients"]
        for name, value in limits.items():
            if name not in known:
                raise ValueError(f"there is no limit of that name; it must be one of {', '.join(known)}")
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} must lie between 0 and 1")
        return limits

    def thresholds(self) -> Thresholds:
        """The limits that evaluation judges by: the defaults, less what the policy says otherwise."""
        return Thresholds(**(asdict(Thresholds()) | self.limits | {"min_patients": self.minimum_patients}))


def load_policy(data: DataFolder) -> Policy:
    """The policy of a data folder; the defaults where it has no `policy.yaml`.

    Raises
    ------
    DefinitionError
        The file is no YAML mapping, says something unknown or twice, or a value that cannot be. What it does not
        say has its default.
    """
    path = data.policy
    if not path.exists():
        return Policy()
    try:
        return Policy.model_validate(_read(path))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        message = "there is no such field" if fault["type"] == "extra_forbidden" else fault["msg"]
        raise DefinitionError(f"{path}: {field}: {message.removeprefix('Value error, ')}") from None


def _read(path: Path) -> Any:
    """The mapping in a policy file; a key that stands twice is refused, because the last would win unseen."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, RecursionError):
        raise DefinitionError(f"{path}: cannot be read as YAML in UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise DefinitionError(f"{path}: is no YAML{'' if line is None else f', see line {line + 1}'}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DefinitionError(f"{path}: must be a mapping, as `ehr-pipeline release --show-policy` prints it")
    if isinstance(node, yaml.MappingNode) and len(node.value) != len(content):
        raise DefinitionError(f"{path}: a field stands twice")
    return content


def policy_text(policy: Policy) -> str:
    """The policy as a YAML file with the reason above each line; it reads back as the same policy."""
    parts = []
    for name, field in Policy.model_fields.items():
        said = {name: policy.model_dump(mode="json")[name]}
        reason = textwrap.wrap(field.description or "", PAGE_WIDTH - 2)
        body = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, default_flow_style=False, width=PAGE_WIDTH)
        if name == "limits":
            reason += ["Defaults:", *(f"  {key}: {value:.6g}" for key, value in asdict(Thresholds()).items())]
        parts.append("\n".join([*(f"# {line}" for line in reason), body]))
    return "\n".join(parts)
