"""A few hundred of the attacks of `tests/fuzz/fuzz_api.py`."""

from carrick.testing.api_fuzz import run_attacks


def test_a_few_hundred_attacks() -> None:
    answers = run_attacks(300, 20240711)
    assert {200, 400, 404} <= answers.keys()
