"""The one table of thresholds: what must hold before a synthetic table is shown as passed, and why.

What belongs here: limits and their reasons. How a verdict is reached from a limit lives in `verdicts.py`.

A gate is only as good as its control. A fidelity or utility gate can pass only if its null (independent
columns, or chance) fails it; a privacy gate only if the twin with the planted leak fails that very gate. Where
the control is inside the limit too, the gate cannot tell, and the verdict is `failed`; but where another gate of
the same attack fails the twin, it is a diagnostic with a limit, which fails beyond it and never passes
(membership_auc[all] is always one: 1 % of the patients move it by 0.01 at most). So independent columns
fail fidelity and utility at any size that can tell, and pass privacy at any size that can tell.

Several leaks are planted, and an attack names those it is for: if it misses one, all its scores are failed. The many
privacy limits share one chance of a false alarm (`chance_level`), so that looking at more patients in more ways does
not make clean tables fail more often.
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
    membership_tpr_excess     membership_tpr_at_1%[GROUP],               the same for the few patients who
                              stretch_membership_tpr_at_1%[GROUP],       stand out most, whom averages hide
                              attribute_tpr_at_1%[COL] and
                              linkage_tpr_at_1%[isolated] <= 0.01 +
                              limit
    copies_excess             exact_copies_train, near_copies_train,     copies of training patients, and values that
                              copied_stretches_train,                    one of them alone has, are no more than
                              copied_stays_train and                     their number beside the holdout's explains;
                              rare_values_train <= chance + limit        of events, ten in a row
    model_auc_excess          model_auc <= 0.5 + limit                   the same for an attacker who holds the
    model_tpr_excess          model_tpr_at_1% <= 0.01 + limit            fitted model, which is not released: the
                                                                         networks here keep to 0.52-0.61 of 2,800
                                                                         patients while their rows give nobody
                                                                         away; beyond this one repeats its table
    chance_level              all privacy limits on the table together,  chance alone makes no score of a clean
                              and again all on events                    table fail, 97 times in 100
    timeline_normalised       mean_normalised of timelines <=    nearer to fresh real patients than to events
                              limit                              shuffled between patients
    implausible_excess        implausible_share of timelines <=  no more patients with any inconsistency than
                              real share + limit                 real records have, two in a hundred aside
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
    model_auc_excess: float = 0.15
    model_tpr_excess: float = 0.05
    chance_level: float = 0.97
    timeline_normalised: float = 0.5
    implausible_excess: float = 0.02
    min_patients: int = 100
