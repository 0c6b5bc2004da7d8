"""The commands of a release: `ehr-pipeline release` and `ehr-pipeline verify`, thin, over `release/`.

What belongs here: options, what is printed, exit codes. What does not: the gate, the bundle and the check of a bundle.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ehr_pipeline.cli_options import Data
from ehr_pipeline.errors import OptionError, ReleaseRefused
from ehr_pipeline.storage import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def release(
    cohort: Annotated[str | None, typer.Option("--cohort", help="cohort")] = None,
    generator: Annotated[str | None, typer.Option("--generator", help="generator, evaluated on that cohort")] = None,
    tier: Annotated[
        str | None, typer.Option("--tier", help="non-private: said out loud for a model without a budget")
    ] = None,
    approved_by: Annotated[
        list[str] | None, typer.Option("--approved-by", help="who approves; repeat for more, if the policy asks")
    ] = None,
    show_policy: Annotated[
        bool, typer.Option("--show-policy", help="print the policy with its reasons, as a policy.yaml, and stop")
    ] = False,
    data: Data = None,
) -> None:
    """Release one generator's synthetic table as a signed bundle, if the gate opens; exit 1 with reasons if not."""
    from ehr_pipeline.release.policy import load_policy, policy_text
    from ehr_pipeline.release.release import release as release_table

    folder = DataFolder.find(data)
    if show_policy:
        print(policy_text(load_policy(folder)), end="")
        return
    if cohort is None or generator is None:
        raise OptionError("say both --cohort and --generator")
    try:
        made = release_table(folder, cohort, generator, tier=tier, approvers=tuple(approved_by or ()), say=_say)
    except ReleaseRefused as refused:
        for reason in refused.reasons:
            _say(f"refused: {reason}")
        raise typer.Exit(refused.exit_code) from None
    print(f"bundle      {made.folder}")
    print(f"report      {made.report}")
    print(f"statement   {made.statement}")
    print(f"tier        {made.tier}")
    print(f"signed by   {made.key}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="folder of a released bundle")],
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="the institution's public key, from a place you trust")
    ] = None,
) -> None:
    """Check that nothing in a released bundle was altered, removed or added; exit 1 if something was."""
    from ehr_pipeline.release.verify import verify as verify_bundle

    found = verify_bundle(bundle, public_key)
    for problem in found.problems:
        _say(f"altered: {problem}")
    if found.problems:
        raise typer.Exit(1)
    for line in found.lines():
        print(line)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
