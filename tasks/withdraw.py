"""Forget the patients of a list in the identified zone."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.stages import withdraw as stage
from medgan.stages.withdraw import Withdrawal
from tasks.policies import PER_BATCH


@task(**PER_BATCH)
def forget(list_name: str) -> Withdrawal:
    """`list_name`: NAME of identified/withdrawals/NAME.txt; no parameter ever names a patient.

    Tried again while the registry is away: what was erased by then is not erased twice.
    """
    home = Home.create()
    return stage.withdraw(stage.listed(list_name, home), home)
