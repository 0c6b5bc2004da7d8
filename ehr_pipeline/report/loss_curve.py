"""The loss curve of a training, as a small PNG for the UI."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def loss_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation loss by epoch; `history` has a record per epoch with `epoch` and `*loss` keys.

    Parts that train one after the other may have losses of different names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(key for one in history for key in one if key.endswith("loss")):
        own = [one for one in history if name in one]
        axes.plot([one["epoch"] for one in own], [one[name] for one in own], label=name.replace("_", " "))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
