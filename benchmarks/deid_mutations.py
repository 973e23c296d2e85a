"""A thousand damaged and lying files through `medgan deidentify`: clean or set aside, never a crash, never a leak.

    ./run bench deid_mutations [--n 1000] [--seed 0]

Hypothesis draws planted files and what is done to them (tests/plants_mutations.py). Exit 1 when anything went wrong:
an exception, a leak, a file not accounted for, more than 10 s or 1.5 GiB.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from plants import Case  # noqa: E402
from plants_mutations import kinds_of, mutated  # noqa: E402
from plants_ordeal import Outcome, peak_gib, undergo  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="deid_mutations.py", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    states: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    slowest = 0.0

    @seed(options.seed)
    @settings(
        max_examples=options.n,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated())
    def ordeals(file: tuple[Case, bytes, tuple[str, ...]]) -> None:
        nonlocal slowest
        case, data, names = file
        outcome = judged(case, data)
        states[outcome.state] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.wrong:
            wrong[f"{case.kind}, {kinds_of(names)}: {outcome.wrong}"] += 1

    ordeals()
    for state, count in states.most_common():
        print(f"{state:24} {count}")
    for what, count in wrong.most_common():
        print(f"WRONG {count} x {what}")
    print(
        f"{sum(states.values())} files, slowest {slowest:.1f} s, peak {peak_gib():.2f} GiB, {sum(wrong.values())} wrong"
    )
    return 1 if wrong else 0


def judged(case: Case, data: bytes) -> Outcome:
    try:
        return undergo(case, data)
    except Exception:  # noqa: BLE001 - that nothing is raised is what is measured
        last = traceback.format_exc().strip().splitlines()
        place = next((line.strip() for line in reversed(last) if "medgan" in line), "")
        return Outcome("exception", f"{last[-1].split(':')[0]} at {place[-80:]}", 0.0)


if __name__ == "__main__":
    sys.exit(main())
