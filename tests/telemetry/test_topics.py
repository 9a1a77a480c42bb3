"""Topics and what they mean are each other's inverse, and no name can say more than its own level."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.topics import (
    LAB_LEAVES,
    MINER_LEAVES,
    NO_MINER,
    ROW_LEAVES,
    MinerLevels,
    Place,
    Topics,
    lab_filters,
    level_fault,
    parse,
)

REFUSED = [
    "",
    "a/b",
    "#",
    "miner+1",
    "all#",
    "$SYS",
    "a\0b",
    "tab\t",
    "new\nline",
    "\x7f",
    "\ud800",
    "\ufdd0",
    "ü" * 33,
]
names = st.text(min_size=1, max_size=80).filter(lambda name: level_fault(name) is None)


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_would_change_what_a_topic_means_is_refused(name: str) -> None:
    assert level_fault(name)
    with pytest.raises(UserError, match="--lab"):
        Topics(name)
    assert MinerLevels().assign(7, name) == "miner-7"


@given(lab=names, miner=names)
def test_every_topic_is_parsed_to_what_it_was_made_of(lab: str, miner: str) -> None:
    topics = Topics(lab)
    for leaf in LAB_LEAVES:
        assert parse(getattr(topics, leaf)()) == Place(lab, None, leaf)
    for leaf in MINER_LEAVES:
        make = {"state": topics.miner_state}.get(leaf) or getattr(topics, leaf)
        found = parse(make(miner))
        assert found == Place(lab, miner, leaf)
        assert found.table == ("miners" if leaf == "state" else ROW_LEAVES.get(leaf))
    for table in ("miners", *ROW_LEAVES.values()):
        place = parse(topics.row(table, miner))
        assert place is not None
        assert place.table == table


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["asiclab", "lab", "+", "#", "m", *MINER_LEAVES])).map("/".join)
)
def test_any_other_topic_is_none_of_ours(topic: str) -> None:
    place = parse(topic)
    if place is not None:
        topics = Topics(place.lab)
        again = f"asiclab/{topics.lab}" + (f"/{place.miner}" if place.miner else "") + f"/{place.leaf}"
        assert again == topic


@given(
    st.lists(
        st.sampled_from(["a", "b", "-", "miner-2", "miner-3", "x/y", ""]) | st.text(max_size=70), max_size=30
    )
)
def test_no_two_miners_share_a_level_whatever_they_are_called(called: list[str]) -> None:
    levels = MinerLevels()
    given_levels = [levels.assign(number, name) for number, name in enumerate(called, 1)]
    assert len(set(given_levels)) == len(called)
    assert NO_MINER not in given_levels
    assert all(level_fault(level) is None for level in given_levels)
    assert [levels.level(number) for number in range(1, len(called) + 1)] == given_levels
    assert [levels.assign(number, "later name") for number in range(1, len(called) + 1)] == given_levels
    told = {number for number, _, _ in levels.refused}
    assert told == {
        n for n, (name, level) in enumerate(zip(called, given_levels, strict=True), 1) if name != level
    }


def test_the_second_miner_of_a_name_is_called_by_its_number_and_it_is_said_why() -> None:
    levels = MinerLevels()
    assert [levels.assign(1, "s9"), levels.assign(2, "s9"), levels.level(3), levels.level(None)] == [
        "s9",
        "miner-2",
        "miner-3",
        "-",
    ]
    assert levels.refused == [(2, "s9", "miner 1 has it already")]


def test_filters_cover_one_lab_or_all() -> None:
    assert lab_filters("l", ("run",), ("share",)) == ["asiclab/l/run", "asiclab/l/+/share"]
    assert lab_filters(None, ("run",), ("share",)) == ["asiclab/+/run", "asiclab/+/+/share"]
    with pytest.raises(UserError):
        lab_filters("#", (), ())
