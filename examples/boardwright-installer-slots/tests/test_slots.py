"""The slots keep the contract of every installer, and what they hold are the images."""

from boardwright_slots import SlotsInstaller
from contract import ContractTest

from boardwright.agent.installers.base import Place


class TestSlots(ContractTest):
    factory = SlotsInstaller

    def test_hold_the_old_image_beside_the_new_one(self, place: Place) -> None:
        first = self.deployed(place, "1")
        self.deployed(place, "2", first.target)
        assert sorted((place.directory / name).read_text() for name in ("slot-a", "slot-b")) == ["1", "2"]
