"""A whole cluster deploys, twice, on networks that double, reorder and lose, in one direction or both, with a liar."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.location import Location
from boardwright.model.report import DeploymentState
from boardwright.protocol.codec import Received, decode, encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import Announcement, GroupOffer, Holding, Offer, Request
from boardwright.sim.cluster import Shape, SimCluster, manifest_of
from boardwright.sim.hands import Behaviour
from boardwright.sim.network import Conditions
from boardwright.sim.seal import SimSeal

SERVERS = ("c1s1", "c2s1")
DEAF = Conditions(loss=1.0)
LIAR = SimSeal("liar", Location("1", "1"))


class Liar:
    """Hears all multicast, sends it again later, announces plans that nobody has and offers what it does not have."""

    def __init__(self, built: SimCluster, seed: int) -> None:
        self._built = built
        self._chance = Random(seed)
        self._heard: list[bytes] = []
        self.sent = 0
        built.network.join("liar", self._hear)

    def _hear(self, data: bytes, sender: str) -> None:
        received = decode(data, self._built.name)
        if sender == "liar" or not isinstance(received, Received):
            return
        self._heard = [*self._heard[-50:], data]
        message = received.message
        if isinstance(message, Request) and self._chance.random() < 0.5:
            groups = tuple(
                GroupOffer(query.group, "6.6", manifest_of(query.group, "6.6"), Holding.ALL) for query in message.groups
            )
            for _ in range(20):
                forged = Offer(message.cluster, self._chance.randbytes(16), "liar", "1", "1", 2**53 - 1, groups=groups)
                self._built.network.unicast("liar", sender, encode_offers(forged, LIAR)[0])
        if self._chance.random() < 0.3:
            self._built.time.after(self._chance.random() * 3, self._speak)

    def _speak(self) -> None:
        self.sent += 1
        lie = encode_announcement(Announcement(self._built.name, "", self._chance.choice([1, 9, 2**53 - 1])), LIAR)
        self._built.network.multicast("liar", self._chance.choice([*self._heard, lie]))


def settle(built: SimCluster, version: str, seconds: float) -> bool:
    def done() -> bool:
        return all(
            board.running("platform") == version and board.state("platform") is DeploymentState.CONFIRMED
            for board in built.boards.values()
        )

    return built.time.run(seconds, done)


def release(built: SimCluster, version: str) -> None:
    built.publish("platform", version)
    built.deploy("platform", version)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 0.3),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sets(st.tuples(st.sampled_from(SERVERS[:1]), st.sampled_from(["c1s1", "c1s2", "c2s2"]), st.booleans())),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_every_board_ends_with_what_the_plan_names_and_no_byte_came_twice(
    loss: float, duplicate: float, reorder: float, deaf: set[tuple[str, str, bool]], liar: bool, seed: int
) -> None:
    built = SimCluster(Shape(chassis=2, control_boards=1, line_boards=2), Conditions(loss, duplicate, reorder), seed)
    built.behave(Behaviour())
    cut_off = {board for _, board, _ in deaf}
    for server, board, offers in deaf:  # one direction only: offers do not arrive, or requests do not
        ends = (f"server:{server}", built.boards[board].node)
        built.network.path(*(ends if offers else ends[::-1]), DEAF)
    if liar:
        Liar(built, seed)
    release(built, "1.0")
    built.power_on()
    assert settle(built, "1.0", 300.0)
    assert all(built.boards[board].chosen["platform"].server not in SERVERS[:1] for board in cut_off)
    release(built, "2.0")
    assert settle(built, "2.0", 700.0)  # an announcement may be lost: then the slow period finds it
    size = next(iter(built.boards.values())).behaviour.size
    assert all(sum(board.served.values()) == 2 * size for board in built.boards.values())


def test_on_a_network_that_doubles_and_reorders_everything_a_round_is_no_slower_for_it() -> None:
    built = SimCluster(Shape(), Conditions(duplicate=1.0, reorder=0.5, detour=0.02), 3)
    release(built, "1.0")
    built.power_on()
    assert built.run_until_chosen("platform", "1.0", 5.0)
    assert max(board.chosen["platform"].seconds for board in built.boards.values()) < 0.15


def test_requests_sent_again_by_a_stranger_bring_no_board_anything_but_the_stranger_offers() -> None:
    built = SimCluster(Shape(chassis=1, control_boards=1, line_boards=1), Conditions(), 1)
    heard: list[bytes] = []
    built.network.join("stranger", lambda data, sender: heard.append(data))
    request = Request(built.name, bytes(16), "c1s2", "1", "2", "lc")
    for _ in range(100):
        built.network.multicast("stranger", encode_request(request))
    built.time.run(1.0)
    answers = [decode(data, built.name) for data in heard]
    offers = [one for one in answers if isinstance(one, Received) and isinstance(one.message, Offer)]
    assert len(offers) == 100
    assert built.boards["c1s2"].chosen == {}
