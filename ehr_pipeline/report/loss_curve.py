"""The loss curve of a training, as a small PNG for the UI."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def loss_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation loss by epoch; `history` has a record per epoch with `epoch` and `*loss` keys."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name in [key for key in history[0] if key.endswith("loss")]:
        axes.plot([one["epoch"] for one in history], [one[name] for one in history], label=name.replace("_", " "))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
