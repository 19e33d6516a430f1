"""Deleting what has expired: files of jobs that ended long enough ago, or that nobody knows."""

import threading

from fast_style.service.jobs.client import Desk
from fast_style.service.jobs.context import LOG

ORPHAN_SECONDS = 3600.0
"""Inputs that no job belongs to, as a killed server leaves them, are deleted after so long."""

REMEMBERED_SECONDS = 30 * 86400.0
"""So long after its end a job is known to have been there (410); after that it is not (404)."""


def sweep(desk: Desk) -> int:
    """Delete the files of expired jobs, and forget old jobs; several workers may do so at once.

    Returns:
        How many folders were deleted.
    """
    deleted = 0
    folders = desk.store.names()
    for job_id in folders:
        job = desk.find(job_id)
        if job is None:
            age = desk.store.age(job_id)
            if age is None or age < ORPHAN_SECONDS:
                continue
        elif job.state != "expired":
            continue
        desk.store.delete_folder(job_id)
        deleted += 1
        LOG.info("job %s: its files are deleted", job_id)
    old = desk.ended_before(REMEMBERED_SECONDS)
    desk.forget([job_id for job_id in old if job_id not in folders])
    return deleted


def keep_sweeping(desk: Desk, stop: threading.Event, seconds: float) -> None:
    """Sweep again and again until `stop`."""
    while not stop.wait(seconds):
        try:
            sweep(desk)
        except Exception as error:  # the database or the store is away: the next time will do
            LOG.warning("expired jobs could not be deleted (%s)", error)
