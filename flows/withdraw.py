"""Forget patients; name what must be retrained."""

from __future__ import annotations

from prefect import flow

from medgan.stages.withdraw import Withdrawal
from tasks.withdraw import forget


@flow(name="withdraw", persist_result=False)
def withdraw(list_name: str) -> Withdrawal:
    """Erase the patients of identified/withdrawals/NAME.txt in both inner zones, and retire models that saw them.

    Tombstones stay, a proof is written in the identified zone, and retraining is asked for.
    """
    return forget(list_name)
