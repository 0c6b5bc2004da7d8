"""The wall between patients and Dagster's storage: what may pass from an exception into an event.

Dagster keeps the message and stack of every exception for good. Errors of ours carry names and counts by
rule and pass as they are; of any other exception only its type and place pass, never its text.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from ehr_pipeline.errors import EhrPipelineError
from ehr_pipeline.writing import private_process

EXIT_CODE = "ehr_pipeline/exit_code"


@contextlib.contextmanager
def patient_safe(stage: str) -> Iterator[None]:
    """Run a stage; whatever it raises becomes a Failure without cause, context or retry.

    New files are readable by their owner alone while the stage runs, and a crash leaves no image of memory.
    """
    old_mask = private_process()
    try:
        yield
    except dg.Failure:
        raise
    except EhrPipelineError as error:
        raise _failure(str(error), error.exit_code) from None
    except MemoryError:
        raise _failure(f"{stage}: memory ran out; use a smaller cohort or a machine with more", 1) from None
    except Exception as error:  # noqa: BLE001 - the wall: nothing of its text may pass
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        message = f"{stage}: unexpected {type(error).__name__} at {where}; `ehr-pipeline run --debug` shows it"
        if os.environ.get("EHR_PIPELINE_DEBUG"):
            traceback.print_exc()  # to this terminal only: it may hold patients' values
        raise _failure(message, 1) from None
    finally:
        os.umask(old_mask)


def _failure(message: str, exit_code: int) -> dg.Failure:
    return dg.Failure(description=message, metadata={EXIT_CODE: exit_code}, allow_retries=False)
