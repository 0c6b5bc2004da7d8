"""The one table of thresholds: what must hold before a synthetic table is shown as passed, and why.

What belongs here: limits and their reasons. How a verdict is reached from a limit lives in `verdicts.py`.

A gate is only as good as its control. A fidelity or utility gate can pass only if its null (independent
columns, or chance) fails it; a privacy gate only if the twin with the planted leak fails that very gate. Where
the control is inside the limit too, the gate cannot tell, and the verdict is `failed`; but where another gate of
the same attack fails the twin, it is a diagnostic with a limit, which fails beyond it and never passes
(membership_auc[all] is always one: 1 % of the patients move it by 0.01 at most). So independent columns
fail fidelity and utility at any size that can tell, and pass privacy at any size that can tell.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Limits of the gating scores; every other score is a diagnostic.

    ========================  =========================================  =====================================
    field                     gates                                      reason
    ========================  =========================================  =====================================
    c2st_auc                  c2st_auc <= limit                          a boosted model, shown one real and one
                                                                         synthetic patient, picks the real one
                                                                         in fewer than two of three pairs
    correlation_normalised    correlation_error: normalised <= limit     nearer to a fresh real sample than to
                                                                         independent columns
    tstr_gap                  tstr_hgb[TASK] >= floor - limit            a model trained on it loses at most
                                                                         this much AUROC on real patients; less
                                                                         is within noise for 1,000 patients
    membership_auc_excess     membership_auc[all] <= 0.5 + limit         advantage of guessing who was in the
                                                                         training data, averaged over patients
    membership_tpr_excess     membership_tpr_at_1%[all, isolated] and    the same for the few patients who
                              attribute_tpr_at_1%[COL] <= 0.01 + limit   stand out most, whom averages hide
    copies_excess             exact_copies_train <= chance + limit       matches with training rows are no more
                                                                         than their number beside the holdout's
                                                                         explains
    chance_level              privacy limits                             an excess counts once it is above what
                                                                         chance gives at this size, 199 times
                                                                         in 200
    min_patients              every gate: training, holdout >= limit     with fewer, an AUROC or a rate is known
                                                                         to no better than 0.1 either way
    ========================  =========================================  =====================================
    """

    c2st_auc: float = 2 / 3
    correlation_normalised: float = 0.5
    tstr_gap: float = 0.05
    membership_auc_excess: float = 0.02
    membership_tpr_excess: float = 0.004
    copies_excess: float = 0.0
    chance_level: float = 0.995
    min_patients: int = 100
