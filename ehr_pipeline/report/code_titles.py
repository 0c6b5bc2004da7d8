"""What codes mean, for readers: titles from the clinical catalogue and the public dictionaries of a warehouse.

What belongs here: code to title, unit and kind. What does not: anything of a patient; of the warehouse only the
dictionaries (`d_*`) are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
import pandas as pd

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline.report.lint import claims

VALUES, DRUGS, PROCEDURES, DIAGNOSES, MOVES, OTHER = "values", "drugs", "procedures", "diagnoses", "moves", "other"
_KINDS = {
    VALUES: ("VITAL", "LAB", "OMR", "TRIAGE", "ED_VITAL", "OUTPUT"),
    DRUGS: ("MEDICATION", "PHARMACY", "EMAR", "INPUT", "INGREDIENT", "ED_PYXIS", "ED_MEDRECON"),
    PROCEDURES: ("PROCEDURE", "HCPCS"),
    DIAGNOSES: ("DIAGNOSIS", "ED_DIAGNOSIS", "DRG"),
    MOVES: (
        "ADMISSION", "DISCHARGE", "TRANSFER", "SERVICE", "ICU_ADMISSION", "ICU_DISCHARGE", "ED_ARRIVAL",
        "ED_DISPOSITION", "ED_REGISTRATION", "ED_OUT", "MEDS_DEATH",
    ),
    OTHER: (
        "GENDER", "RACE", "INSURANCE", "LANGUAGE", "MARITAL_STATUS", "SITE", "ANCHOR_YEAR", "ANCHOR_YEAR_GROUP",
        "MEDS_BIRTH", "MICROBIOLOGY", "ORDER", "DATETIME", "HOURS",
    ),
}  # fmt: skip
KIND_OF = {first: kind for kind, firsts in _KINDS.items() for first in firsts}
"""First words of the codes that the mapping makes; another source's codes have a kind by their values."""
WITH_UNIT = ("VITAL", "LAB", "OUTPUT", "INPUT", "INGREDIENT", "TRIAGE", "ED_VITAL", "PROCEDURE")
LEFT_OUT = "(words left out)"
LENGTH = 90


@dataclass(frozen=True, kw_only=True)
class CodeTitle:
    """How one code is shown; `kind` is None for a code that the mapping does not make.

    `rank` is the item's place in the clinical catalogue, after all of them for what is none.
    """

    title: str
    unit: str | None
    kind: str | None
    rank: int


def code_titles(codes: Collection[str], dictionaries: Path | None = None) -> dict[str, CodeTitle]:
    """Title, unit and kind of each code; what no dictionary has is shown by its own words.

    Parameters
    ----------
    dictionaries
        A warehouse; None, or one that is not there, has no dictionary.
    """
    named = _dictionary_titles(codes, dictionaries) if dictionaries is not None and dictionaries.exists() else {}
    return {code: _titled(code, named.get(code)) for code in codes}


def calm(text: str, length: int = LENGTH) -> str:
    """A text of the data as the page can show it: one line, cut, and left out where it claims something.

    >>> calm("Heart   failure"), calm("risk-free interval")
    ('Heart failure', '(words left out)')
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if claims(line):
        return LEFT_OUT
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _titled(code: str, named: str | None) -> CodeTitle:
    parts = [part for part in code.split("//") if part]
    first = parts[0] if parts else code
    kind, item = KIND_OF.get(first), _items().get(code)
    if item is not None:
        return CodeTitle(title=item[0], unit=item[1], kind=kind, rank=item[2])
    unit = parts[-1] if first in WITH_UNIT and len(parts) > 2 and parts[-1] != "UNK" else None
    words = named or _own_words(parts, kind, has_unit=unit is not None) or code
    if words == first and kind is not None:
        words = first.replace("_", " ").lower()
    return CodeTitle(
        title=calm(words), unit=None if unit is None else calm(unit, 24), kind=kind, rank=len(load_items())
    )


def _own_words(parts: list[str], kind: str | None, *, has_unit: bool) -> str:
    """The words of a code without its kind and unit."""
    if kind in (DIAGNOSES, PROCEDURES) and len(parts) == 4 and parts[1] == "ICD":
        return f"{parts[3]} (ICD-{parts[2]})"
    rest = parts[1:-1] if has_unit else parts[1:]
    return " · ".join(part for part in (rest if kind and rest else parts) if part != "UNK")


@cache
def _items() -> dict[str, tuple[str, str | None, int]]:
    """Title, stated unit and rank of every code that the clinical catalogue reads."""
    return {
        source.code: (item.title, None if source.unit == "UNK" else source.unit, rank)
        for rank, item in enumerate(load_items().values())
        for source in item.sources
    }


def retitled(found: TimelineEvaluation, dictionaries: Path | None = None) -> TimelineEvaluation:
    """An evaluation of timelines whose codes are called as here; codes of one title also by their first word."""
    lists = {name: getattr(found, name) for name in ("trajectories", "outcome_trajectories", "prevalence", "values")}
    maps = found.missingness
    codes = {entry.code for entries in lists.values() for entry in entries} | set(maps.codes)
    steps = {code for step in found.transitions for code in (step.code, step.next_code)}
    titles = distinct_titles(codes | steps, dictionaries)
    return found.model_copy(
        update={
            **{
                name: [entry.model_copy(update={"title": titles[entry.code]}) for entry in entries]
                for name, entries in lists.items()
            },
            "missingness": maps.model_copy(update={"titles": [titles[code] for code in maps.codes]}),
            "transitions": [
                step.model_copy(update={"code": titles[step.code], "next_code": titles[step.next_code]})
                for step in found.transitions
            ],
        }
    )


def distinct_titles(codes: Collection[str], dictionaries: Path | None = None) -> dict[str, str]:
    """Titles of codes; where several have one title, the first word of the code, then the code, tells them apart.

    >>> sorted(distinct_titles(["MEDICATION//Senna", "PHARMACY//Senna"]).values())
    ['Senna (medication)', 'Senna (pharmacy)']
    """
    titles = {code: one.title for code, one in code_titles(codes, dictionaries).items()}
    for told in (_first_word, lambda code: calm(code, 60)):
        counts = Counter(titles.values())
        titles = {code: f"{title} ({told(code)})" if counts[title] > 1 else title for code, title in titles.items()}
    return titles


def _first_word(code: str) -> str:
    return calm(code.split("//", maxsplit=1)[0].replace("_", " ").lower(), 30)


# A code that carries an item or an ICD code, and where its title stands.
_TITLES = """
    SELECT c.code, coalesce(l.label, i.label, d.long_title, p.long_title) AS title
    FROM (SELECT code, string_split(code, '//') AS part FROM asked) c
        LEFT JOIN dictionaries.mimiciv_hosp.d_labitems l
            ON part[1] = 'LAB' AND l.itemid = TRY_CAST(part[2] AS BIGINT)
        LEFT JOIN dictionaries.mimiciv_icu.d_items i
            ON part[1] IN ('VITAL', 'OUTPUT', 'INPUT', 'INGREDIENT', 'PROCEDURE', 'DATETIME')
            AND i.itemid = TRY_CAST(part[2] AS BIGINT)
        LEFT JOIN dictionaries.mimiciv_hosp.d_icd_diagnoses d ON part[1] IN ('DIAGNOSIS', 'ED_DIAGNOSIS')
            AND d.icd_version = TRY_CAST(part[3] AS BIGINT) AND trim(d.icd_code) = part[4]
        LEFT JOIN dictionaries.mimiciv_hosp.d_icd_procedures p ON part[1] = 'PROCEDURE' AND part[2] = 'ICD'
            AND p.icd_version = TRY_CAST(part[3] AS BIGINT) AND trim(p.icd_code) = part[4]"""


def _dictionary_titles(codes: Collection[str], dictionaries: Path) -> dict[str, str]:
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as con:
        con.register("asked", pd.DataFrame({"code": pd.Series(list(codes), dtype="str")}))
        quoted = str(dictionaries).replace("'", "''")
        con.execute(f"ATTACH '{quoted}' AS dictionaries (READ_ONLY)")
        return {code: title for code, title in con.execute(_TITLES).fetchall() if title}
