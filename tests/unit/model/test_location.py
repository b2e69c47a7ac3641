"""M5: same chassis is decided by the chassis id, same board by the slot id inside it."""

import pytest

from boardwright.model.location import Location, Tier, tier_between


@pytest.mark.parametrize(
    ("server", "tier"),
    [
        (Location("1", "3"), Tier.SAME_BOARD),
        (Location("1", "1"), Tier.SAME_CHASSIS),
        (Location("2", "3"), Tier.ELSEWHERE),
        (Location("2", "1"), Tier.ELSEWHERE),
    ],
)
def test_m5_the_tier_follows_from_chassis_id_and_slot_id(server: Location, tier: Tier) -> None:
    assert tier_between(Location("1", "3"), server) is tier


def test_a_slot_id_means_nothing_outside_its_chassis() -> None:
    assert tier_between(Location("1", "1"), Location("2", "1")) is Tier.ELSEWHERE


def test_tiers_are_ranked_from_near_to_far() -> None:
    assert sorted(Tier, key=lambda tier: tier.rank) == [Tier.SAME_BOARD, Tier.SAME_CHASSIS, Tier.ELSEWHERE]
