"""Short form of the fuzzing, and that the fuzzer itself can find something."""

from __future__ import annotations

import pytest

from tests.fuzz.engine import FuzzError, fuzz
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_makes_an_exception_escape(target: Target) -> None:
    inputs = round(4_000 * target.weight)
    assert fuzz(target, inputs, seed=1).inputs == inputs


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_of_many_makes_an_exception_escape(target: Target) -> None:
    inputs = round(100_000 * target.weight)
    assert fuzz(target, inputs, seed=2).inputs == inputs


def test_equal_seeds_give_equal_inputs() -> None:
    corpus = TARGETS[0].corpus
    first, again, other = Mutator(corpus, 3), Mutator(corpus, 3), Mutator(corpus, 4)
    drawn = [first() for _ in range(500)]
    assert drawn == [again() for _ in range(500)]
    assert drawn != [other() for _ in range(500)]
    assert len(set(drawn)) > 450


def test_the_fuzzer_reports_an_escaping_exception_with_its_input() -> None:
    def fragile(data: bytes) -> None:
        data.decode("ascii")

    with pytest.raises(FuzzError, match=r"fragile, seed 5, input .*UnicodeDecodeError"):
        fuzz(Target("fragile", (b"plain text",), fragile), inputs=2_000, seed=5)


def test_the_fuzzer_reports_memory_that_grows_even_into_what_earlier_work_freed() -> None:
    freed = [b"x" * 100_000 for _ in range(3_000)]
    last = b"x" * 100_000  # above them, so that the heap cannot shrink
    freed.clear()
    kept: list[bytes] = []

    def hoarder(data: bytes) -> None:
        kept.append(b"x" * 100_000)

    with pytest.raises(FuzzError, match="memory grew"):
        fuzz(Target("hoarder", (b"abc",), hoarder), inputs=1_500, seed=6)
    assert last
