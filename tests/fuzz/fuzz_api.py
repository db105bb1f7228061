"""Garbage and almost-right requests at the API's socket, with a fake engine behind it.

`CARRICK_FUZZ_ROUNDS` attacks (5000 by default), from the seed `CARRICK_FUZZ_SEED` (printed). Fails if
an answer is not HTTP or an internal error, if anything is logged, or if a task, a session or a descriptor is
left.
"""

import os
import random

import pytest

from carrick.testing.api_fuzz import run_attacks


@pytest.mark.timeout(3600)
def test_no_request_upsets_the_api() -> None:
    rounds = int(os.environ.get("CARRICK_FUZZ_ROUNDS", "5000"))
    chosen = int(os.environ.get("CARRICK_FUZZ_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"CARRICK_FUZZ_SEED={chosen} CARRICK_FUZZ_ROUNDS={rounds}")
    print(sorted(run_attacks(rounds, chosen).items()))


if __name__ == "__main__":
    test_no_request_upsets_the_api()
