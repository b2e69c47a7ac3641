"""Who is still answered when somebody shouts."""

from boardwright.protocol.budget import (
    BURST,
    KNOWN_AFTER,
    MAX_KNOWN,
    MAX_STRANGERS,
    MODEST_BURST,
    MODEST_RATE,
    RATE,
    SHARED_BURST,
    SHARED_RATE,
    STRANGERS_BURST,
    STRANGERS_RATE,
    Bucket,
    Budget,
)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(10.0, 5.0, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    assert sum(bucket.take(100.0) for _ in range(50)) == 5


def test_a_thousand_boards_behind_one_address_that_power_on_are_all_answered() -> None:
    budget = Budget(0.0)
    assert all(budget.admits("10.0.1.1", now) for now in (0.0, 0.08) for _ in range(1000))


def test_ten_thousand_boards_with_their_own_addresses_that_power_on_are_all_answered() -> None:
    budget = Budget(0.0)
    assert all(budget.admits(f"10.0.{board // 250}.{board % 250}", 0.0) for board in range(10_000))


def test_who_shouts_gets_his_share_and_nobody_else_notices() -> None:
    budget = Budget(0.0)
    answered = 0
    for tick in range(20_000):
        now = tick / 20_000
        answered += budget.admits("10.0.9.9", now)
        if tick % 100 == 0:
            assert budget.admits("10.0.1.3", now)
    assert answered <= BURST + RATE + 1


def test_a_flood_from_invented_addresses_is_bounded_and_leaves_the_known_boards_alone() -> None:
    budget = Budget(0.0)
    for now in (0.0, KNOWN_AFTER):
        assert budget.admits("10.0.1.3", now)
    answered = 0
    for tick in range(5 * 20_000):
        now = 10 + tick / 20_000
        answered += budget.admits(f"invented {tick}", now)
        if tick % 20_000 == 0:
            assert budget.admits("10.0.1.3", now)
    assert answered <= STRANGERS_BURST + 5 * STRANGERS_RATE + 1
    assert len(budget) <= MAX_STRANGERS + MAX_KNOWN


def test_the_table_of_known_sources_is_bounded() -> None:
    budget = Budget(0.0)
    for source in range(MAX_KNOWN + 5000):
        now = source * 0.01
        budget.admits(f"s{source}", now)
        budget.admits(f"s{source}", now + KNOWN_AFTER)
    assert len(budget) <= MAX_STRANGERS + MAX_KNOWN
    assert budget.admits("s0", 1e6)


def test_many_that_shout_a_little_are_bounded_together_and_boards_go_on_being_answered() -> None:
    budget = Budget(0.0)
    answered = 0
    for tick in range(10 * 20_000):
        now = tick / 20_000
        answered += budget.admits(f"shouter {tick % 400}", now)
        if tick % 4000 == 0:  # five times a second
            assert budget.admits("10.0.1.3", now)
    assert answered <= SHARED_BURST + 10 * SHARED_RATE + 400 * (MODEST_BURST + 10 * MODEST_RATE) + 1
