"""Both ends of the sequence over channels that lose, repeat and reorder: a beginning arrives, and at last the whole."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.telemetry.sequence import HELD, Acceptance, Cursor

IDS = st.lists(st.integers(1, 60), max_size=30, unique=True).map(sorted)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["send", "deliver", "lose", "repeat", "swap", "ack", "cut", "ask", "grow", "restart"]
        ),
        st.integers(0, 7),
    ),
    max_size=200,
)


class World:
    """A publisher with a growing table, a channel each way, and a recorder whose memory is what it has stored."""

    def __init__(self, ids: list[int], here: int) -> None:
        self.ids, self.here = ids, here
        self.cursor = Cursor()
        self.channel: deque[tuple[int, int | None, int]] = deque()
        self.acks: deque[tuple[int, int]] = deque()
        self.recorder = Acceptance()
        self.stored: list[int] = []

    def send(self, count: int) -> None:
        for row_id in [i for i in self.ids[: self.here] if i > (self.cursor.seen or 0)][: count + 1]:
            after = self.cursor.send(row_id)
            self.channel.append((row_id, after, row_id))
            self.acks.append((row_id, self.cursor.epoch))

    def deliver(self) -> None:
        if self.channel:
            self.stored += self.recorder.offer(*self.channel.popleft())

    def do(self, action: str, number: int) -> None:
        if action == "send":
            self.send(number)
        elif action == "deliver":
            for _ in range(number + 1):
                self.deliver()
        elif action == "lose" and self.channel:
            del self.channel[number % len(self.channel)]
        elif action == "repeat" and self.channel:
            self.channel.append(self.channel[number % len(self.channel)])
        elif action == "swap" and self.channel:
            self.channel.rotate(number)
        elif action == "ack" and self.acks:
            self.cursor.acknowledge(*self.acks.popleft())
        elif action == "cut":  # the broker may have passed on what it did not acknowledge, or not
            self.acks.clear()
            if number % 2:
                self.channel.clear()
            self.cursor.lost()
        elif action == "ask":
            self.cursor.rewind(self.recorder.last)
        elif action == "grow":
            self.here = min(len(self.ids), self.here + number)
        elif action == "restart":  # the recorder is killed; what it stored says where it stands
            self.recorder = Acceptance(self.stored[-1] if self.stored else None)


@given(ids=IDS, here=st.integers(0, 30), actions=ACTIONS)
def test_what_arrives_is_always_a_beginning_and_becomes_the_whole(
    ids: list[int], here: int, actions: list[tuple[str, int]]
) -> None:
    world = World(ids, here)
    for action in actions:
        world.do(*action)
        assert world.stored == ids[: len(world.stored)]
        assert (world.cursor.acked or 0) <= (world.cursor.sent or 0) <= (world.cursor.seen or 0)
        assert not world.recorder.conflict
    world.here = len(ids)
    for _ in range(3):  # the end of the run: its last id is said, the channel is kind for a while
        world.recorder.expect(ids[-1] if ids else None)
        if world.recorder.gap:
            world.cursor.rewind(world.recorder.last)
        world.send(100)
        while world.channel:
            world.deliver()
    assert world.stored == ids
    assert not world.recorder.gap


def test_rows_before_their_turn_wait_and_come_out_in_order() -> None:
    accept = Acceptance()
    assert accept.offer(3, 2, "c") == []
    assert accept.offer(2, 1, "b") == []
    assert accept.held == 2
    assert accept.gap
    assert accept.offer(1, None, "a") == ["a", "b", "c"]
    assert (accept.last, accept.held, accept.gap) == (3, 0, False)
    assert accept.offer(2, 1, "b") == []


def test_what_waits_is_bounded() -> None:
    accept = Acceptance()
    for number in range(3, 3 * HELD):
        assert accept.offer(number, number - 1, number) == []
    assert accept.held == HELD
    assert accept.offer(1, None, 1) == [1]
    assert len(accept.offer(2, 1, 2)) == HELD + 1
    assert accept.held == 0
    assert accept.gap


def test_two_traces_with_one_run_id_are_noticed() -> None:
    accept = Acceptance(5)
    assert accept.offer(7, 4, "x") == []
    assert accept.conflict


def test_an_acknowledgement_from_before_a_rewind_says_nothing() -> None:
    cursor = Cursor()
    for row_id in (1, 2, 3):
        cursor.send(row_id)
    before = cursor.epoch
    cursor.acknowledge(1, before)
    assert cursor.rewind(None)
    cursor.acknowledge(3, before)
    assert (cursor.sent, cursor.acked, cursor.seen) == (None, None, None)
    assert not cursor.rewind(4)


def test_rows_that_cannot_be_sent_are_looked_at_once() -> None:
    cursor = Cursor()
    cursor.look(4)
    assert (cursor.seen, cursor.sent) == (4, None)
    assert cursor.send(5) is None
    cursor.look(4)
    assert cursor.seen == 5
