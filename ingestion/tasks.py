"""The Celery task: a thread of the pool hands the job to the worker's event loop and waits for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import CancelledError

from celery import Celery

from ingestion.dispatch import INGEST_TASK
from rag.errors import TensorasError

log = logging.getLogger(__name__)


def register(celery: Celery, run: Callable[[str], None]) -> Callable[[str], None]:
    """Registers `ingestion.ingest(job_id)`, which calls `run`. Whatever goes wrong is logged here and
    ends here: the rows say what is left to do, and the sweeper reads them."""

    def ingest(job_id: str) -> None:
        if not isinstance(job_id, str) or not re.fullmatch(r"job_[0-9a-f]{24}", job_id):
            log.warning("a message without a job id was dropped")
            return
        try:
            run(job_id)
        except CancelledError:
            log.info("a job was interrupted by the stop of this worker", extra={"job": job_id})
        except TensorasError as error:
            log.warning("a job goes on later: %s", error.message, extra={"job": job_id})
        except Exception:  # the task wrapper: Celery would only log it again
            log.exception("a job was interrupted by an error", extra={"job": job_id})

    celery.task(ingest, name=INGEST_TASK, ignore_result=True)
    return ingest
