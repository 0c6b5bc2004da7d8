"""Which codes patients have, which together, which one after another, and how often a day.

What belongs here: measures of codes without regard to the clock and to values.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.smallcells import coarse_share
from ehr_pipeline.evaluate.timelines.draws import Draws, mean_over, nothing, r_squared, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import CodePrevalence, CodeTransition
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.record import SMALL_CELL

N_SHOWN = 60


class CodeUse:
    """Distances of other patients' use of codes from the training patients'."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists = lists
        alone = Draws(train.n_patients, None)
        self.n_train = train.n_patients
        self.prevalence = self._prevalence(train, alone)[0]
        self.together = self._together(train, alone)[0]
        self.steps = self._steps(train, alone)[0]
        self.n_steppers = _patients_by_cell(*self._step_cells(train), len(lists.frequent) ** 2)
        self.rates = self._rates(train, alone)[0]

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """Prevalence, co-occurrence, next codes and events a day."""
        lists, prevalence = self.lists, self._prevalence(other, draws)
        judged = np.abs(prevalence[:, lists.judged] - self.prevalence[lists.judged])
        recall = mean_over((prevalence[:, lists.rare] > 0).astype(float))
        recall[1:] = np.nan  # a draw repeats patients, so it holds fewer codes: its spread says nothing of recall
        steps = self._steps(other, draws)
        found = {
            "prevalence_r2": reading(
                r_squared(self.prevalence[lists.judged], prevalence[:, lists.judged]), lowest=-np.inf, highest=1.0
            ),
            "prevalence_error": reading(mean_over(judged), highest=1.0),
            "rare_code_recall": reading(recall, note=f"{len(lists.rare)} codes of 1 % to 10 % of patients"),
            "cooccurrence_r2": reading(
                r_squared(self.together, self._together(other, draws)), lowest=-np.inf, highest=1.0
            ),
            "bigram_tvd": reading(_tvd(self.steps, steps), highest=1.0),
            "next_code_tvd": reading(self._next_code_tvd(steps), highest=1.0),
        }
        return found | {"measurement_rate_error": self._rate_error(other, draws)}

    def prevalences(self, other: Timelines) -> list[CodePrevalence]:
        """The most common codes of at least SMALL_CELL training patients, both shares of each."""
        has = self._prevalence(other, Draws(other.n_patients, None))[0]
        shown = [c for c in self.lists.prevalent[:N_SHOWN] if self.lists.n_carriers[c] >= SMALL_CELL]
        return [
            CodePrevalence(
                code=str(self.lists.codes[c]),
                title=self.lists.named.title(self.lists.codes[c]),
                real=coarse_share(np.arange(self.n_train) < self.lists.n_carriers[c]),
                synthetic=float(has[c]),
            )
            for c in shown
        ]

    def transitions(self, other: Timelines) -> list[CodeTransition]:
        """The most common pairs of next codes, of at least SMALL_CELL training patients."""
        own, codes = self._steps(other, Draws(other.n_patients, None))[0], self.lists.codes[self.lists.frequent]
        places = np.argsort(-self.steps, kind="stable")[:N_SHOWN]
        places = places[self.n_steppers[places] >= SMALL_CELL]
        return [
            CodeTransition(
                code=str(codes[place // len(codes)]),
                next_code=str(codes[place % len(codes)]),
                real=round(float(self.steps[place]), 4),
                synthetic=float(own[place]),
            )
            for place in places
        ]

    def _prevalence(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Share of patients with each training code: [n_draws, size]."""
        return draws.sums(*timelines.carriers(self.lists.size), self.lists.size) / draws.n_patients()

    def _together(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Share of patients with both codes, by pair of prevalent codes: [n_draws, n_pairs]."""
        has = (timelines.counts(self.lists.prevalent) > 0).astype(np.float64)
        both = draws.products(np.arange(timelines.n_patients), has, has) / draws.n_patients()[:, :, None]
        return both[:, *np.triu_indices(has.shape[1], 1)]

    def _steps(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Shares of (code, next code) among timed events of frequent codes: [n_draws, k * k].

        Other codes are passed over; events of one time follow each other in the order of their codes.
        """
        counts = draws.sums(*self._step_cells(timelines), len(self.lists.frequent) ** 2)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def _step_cells(self, timelines: Timelines) -> tuple[np.ndarray, np.ndarray]:
        """Patient and cell (code * k + next code) of each step."""
        kept, place = timelines.timed().of_codes(self.lists.frequent)
        is_step = kept.patient[1:] == kept.patient[:-1]
        return kept.patient[1:][is_step], (place[:-1] * len(self.lists.frequent) + place[1:])[is_step]

    def _next_code_tvd(self, steps: np.ndarray) -> np.ndarray:
        """Distance of the next code's distribution given the code, averaged over real codes as they come."""
        k = len(self.lists.frequent)
        real, other = self.steps.reshape(k, k), steps.reshape(len(steps), k, k)
        share = real.sum(axis=1)
        given_real = real / np.maximum(share, 1e-300)[:, None]
        own = other.sum(axis=2, keepdims=True)
        given_other = np.divide(other, own, out=np.zeros_like(other), where=own > 0)
        far = np.where(own[:, :, 0] > 0, 0.5 * np.abs(given_other - given_real).sum(axis=2), 1.0)
        return far @ share if share.sum() else np.full(len(steps), np.nan)

    def _rates(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Events per patient and day of each frequent code: [n_draws, k]; NaN without a day."""
        first, last = timelines.span()
        days = draws.total(np.arange(timelines.n_patients), np.nan_to_num(last - first) / 24)
        kept, place = timelines.timed().of_codes(self.lists.frequent)
        counts = draws.sums(kept.patient, place, len(self.lists.frequent))
        return np.divide(counts, days, out=np.full_like(counts, np.nan), where=days > 0)

    def _rate_error(self, other: Timelines, draws: Draws) -> Reading:
        rates = self._rates(other, draws)
        if not rates.size or np.isnan(self.rates).any() or np.isnan(rates[0]).any():
            return nothing("no patient has two times: there are no days to count by")
        return reading(mean_over(np.abs(rates - self.rates) / self.rates))


def _patients_by_cell(patient: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Patients with at least one row in each cell: int64 [n_cells]."""
    width = max(n_cells, 1)
    return np.bincount(np.unique(patient * width + cell) % width, minlength=n_cells)


def _tvd(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Total variation of distributions [n_draws, k] from one [k]: [n_draws]; NaN where there is nothing real."""
    return 0.5 * np.abs(other - reference).sum(axis=1) if reference.sum() else np.full(len(other), np.nan)
