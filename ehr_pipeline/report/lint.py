"""The wording lint: claims that no number in the report carries may not stand on the page.

What belongs here: the phrases, and finding them in a page or in the texts that a user wrote. Evidence from a
report goes to an expert who judges it; the report itself does not judge.
"""

from __future__ import annotations

import html as html_module
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any

# What a reader would take as a promise -> how it is found, in lower case with plain apostrophes.
BANNED: dict[str, re.Pattern[str]] = {
    "anonymous": re.compile(r"\banonym(?:ous|i[sz])"),
    "HIPAA compliant": re.compile(r"\bhipaa[\s-]*complian"),
    "GDPR compliant": re.compile(r"\bgdpr[\s-]*complian"),
    "FDA approved": re.compile(r"\bfda[\s-]*approved"),
    "no real patient's record": re.compile(r"\bno real (?:patient|person|record|data)"),
    "guaranteed": re.compile(r"\bguarantee[sd]\b"),
    "indistinguishable": re.compile(r"\bindistinguishable\b"),
    "risk-free": re.compile(r"\brisk[\s-]*free\b|\b(?:zero|no) (?:privacy |re-?identification )?risk\b"),
    "cannot be traced back": re.compile(
        r"\b(?:cannot|can't|can not|impossible to) (?:be )?(?:traced?|re-?identif\w*|linked?)\b"
    ),
    "safe to release": re.compile(r"\bsafe to (?:release|share|publish)\b"),
    "fully private": re.compile(r"\b(?:fully|completely|perfectly|100 ?%) (?:private|safe|secure|de-?identified)\b"),
}

_TAG = re.compile(r"<[^>]*>")
_HIDDEN_PARTS = re.compile(r"<(style|script)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_ATTRIBUTES = re.compile(r"""\b(?:title|alt|aria-label|content)\s*=\s*("[^"]*"|'[^']*')""", re.IGNORECASE)


def lint(html: str, supported: Collection[str] = ()) -> list[str]:
    """The banned phrases that a page says, in its text or in what a screen reader says of it.

    Parameters
    ----------
    html
        A whole page or a part.
    supported
        Names in `BANNED` that a section of this page proves; they are let through.
    """
    shown = _HIDDEN_PARTS.sub(" ", html)
    parts = [_TAG.sub(" ", shown), _TAG.sub("", shown), *_ATTRIBUTES.findall(shown)]
    return claims(" \n ".join(html_module.unescape(part) for part in parts), supported)


def claims(text: str, supported: Collection[str] = ()) -> list[str]:
    """The banned phrases in a plain text, whatever its case, spacing, apostrophes or invisible characters.

    >>> claims("A fully ANONY\u00admised table, guaranteed")
    ['anonymous', 'guaranteed']
    >>> claims("no formal guarantee")
    []
    """
    normal = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‐", "-")
    visible = "".join(sign for sign in normal if unicodedata.category(sign) != "Cf")
    plain = re.sub(r"\s+", " ", visible.lower())
    return [name for name, pattern in BANNED.items() if name not in supported and pattern.search(plain)]


def texts(content: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text inside plain JSON, with the place it stands at (`cohort.title`, `schema.columns[3].levels[0]`)."""
    if isinstance(content, str):
        yield where, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield f"{where} (a name)".strip(), str(key)
            yield from texts(value, f"{where}.{key}" if where else str(key))
    elif isinstance(content, list | tuple):
        for place, value in enumerate(content):
            yield from texts(value, f"{where}[{place}]")
