"""The pure part of the lab of the benchmarks: what is built, what is asked for, and what is made of the rounds."""

from collections import Counter
from unittest import mock

import pytest

from bench.lab.__main__ import _parser, changed, main
from bench.lab.cluster import Moment, read_moment
from bench.lab.network import Traffic
from bench.lab.peers import nearest, one
from bench.lab.result import Result, Round, table, targets, time_target
from bench.lab.settings import BOTH, OURS, PLAIN, PRESETS, Setting
from bench.lab.shape import MIB, OPERATOR, SWITCH, Shape, wiring

SMALL = Shape(2, 1, 2, 100, 50)
LINE = "2026-01-31T12:00:00.250Z info boardwright-agent staged at=agent.driver board=c1s3 group=image version=v-1"


def lines(shape: Shape, host: str, tool: str) -> list[str]:
    """What is done in one namespace, whose names are in capitals."""
    return [
        line for batch in wiring(shape, str.upper) if (batch.host, batch.tool) == (host, tool) for line in batch.lines
    ]


class TestAShape:
    def test_has_control_boards_in_the_first_slots_of_each_chassis(self) -> None:
        assert [host.id for host in SMALL.hosts] == ["c1s1", "c1s2", "c1s3", "c2s1", "c2s2", "c2s3"]
        assert [host.id for host in SMALL.servers] == ["c1s1", "c2s1"]
        assert [host.id for host in SMALL.line_boards] == ["c1s2", "c1s3", "c2s2", "c2s3"]

    def test_has_the_floor_of_one_copy_over_one_link(self) -> None:
        assert Shape(link=100).floor(32 * MIB) == pytest.approx(2.684, abs=0.001)
        assert Shape(link=50).floor(32 * MIB) == pytest.approx(2 * 2.684, abs=0.001)

    @pytest.mark.parametrize(
        "shape",
        [Shape(0), Shape(201), Shape(1, 0), Shape(1, 1, 0), Shape(20, 2, 9), Shape(link=0.5), Shape(uplink=1e6)],
    )
    def test_that_cannot_be_built_is_refused_in_a_sentence(self, shape: Shape) -> None:
        assert shape.trouble()
        assert not SMALL.trouble()


class TestTheWiring:
    def test_puts_every_board_on_the_bridge_of_its_chassis(self) -> None:
        switch = lines(SMALL, SWITCH, "ip")
        assert "link add c2s3 type veth peer name eth1 netns C2S3" in switch
        assert "link set c2s3 master ch2 up" in switch
        assert "address add 10.67.2.3/16 broadcast + dev eth1" in lines(SMALL, "c2s3", "ip")

    def test_joins_the_chassis_by_their_uplinks(self) -> None:
        switch = lines(SMALL, SWITCH, "ip")
        for chassis in (1, 2):
            assert f"link add up{chassis} type veth peer name core{chassis}" in switch
            assert f"link set up{chassis} master ch{chassis} up" in switch
            assert f"link set core{chassis} master core up" in switch

    def test_lets_every_bridge_flood_multicast(self) -> None:
        bridges = [line for line in lines(SMALL, SWITCH, "ip") if "type bridge" in line]
        assert len(bridges) == 3
        assert all(line.endswith("mcast_snooping 0") for line in bridges)

    def test_gives_every_link_its_rate_at_both_ends_but_the_operators_none(self) -> None:
        rates = {line.split()[3]: line.split()[7] for line in lines(SMALL, SWITCH, "tc")}
        assert {rates[port] for port in ("up1", "core1", "up2", "core2")} == {"50mbit"}
        assert {rates[host.id] for host in SMALL.hosts} == {"100mbit"}
        assert OPERATOR not in rates
        assert lines(SMALL, OPERATOR, "tc") == []
        for host in SMALL.hosts:
            (line,) = lines(SMALL, host.id, "tc")
            assert line.startswith("qdisc add dev eth1 root tbf rate 100mbit ")

    @pytest.mark.parametrize("rate", [1.0, 100.0, 10_000.0])
    def test_has_queues_that_take_some_segments_and_hold_no_more_than_20_ms_on_fast_links(self, rate: float) -> None:
        words = lines(Shape(link=rate), "c1s1", "tc")[0].split()
        burst, limit = (int(words[words.index(word) + 1]) for word in ("burst", "limit"))
        assert 65536 < burst <= limit
        assert limit * 8 / (rate * 1e6) <= 0.02 or limit == 256 * 1024


class TestASetting:
    @pytest.mark.parametrize("name", PRESETS)
    def test_that_has_a_name_can_be_done(self, name: str) -> None:
        assert [setting.trouble() for setting in PRESETS[name]] == [""] * len(PRESETS[name])

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (["--contenders", "ftp"], "no contender is named ftp"),
            (["--size", "0"], "--size"),
            (["--rounds", "0"], "--rounds"),
            (["--holders", "none"], "--holders"),
            (["--kill", "relays=16"], "--kill"),
            (["--kill", "boards=1"], "--kill"),
            (["--kill", "server", "--chassis", "1", "--control-boards", "1"], "two servers"),
            (["--chassis", "0"], "0 chassis"),
        ],
    )
    def test_that_cannot_be_done_is_refused_in_a_sentence(self, words: list[str], named: str) -> None:
        assert named in changed(Setting(), _parser().parse_args(words)).trouble()

    def test_is_changed_by_what_is_said_and_by_nothing_else(self) -> None:
        words = ["growth", "--rounds", "1", "--link", "50", "--contenders", f"{OURS},{PLAIN}"]
        found = [changed(setting, _parser().parse_args(words)) for setting in PRESETS["growth"]]
        assert [setting.shape.boards for setting in found] == [8, 16, 32]
        assert {(setting.rounds, setting.shape.link, setting.contenders) for setting in found} == {
            (1, 50.0, (OURS, PLAIN))
        }


class TestWhoServesABoard:
    def test_is_a_control_board_of_its_chassis_and_each_serves_as_many(self) -> None:
        found = nearest(Setting())
        assert Counter(host.id for host in found.values()) == {"c1s1": 4, "c1s2": 4, "c2s1": 4, "c2s2": 4}
        assert all(board.startswith(f"c{host.chassis}s") for board, host in found.items())

    def test_is_in_another_chassis_if_nobody_has_it_in_its_own(self) -> None:
        found = nearest(Setting(holders="first"))
        assert Counter(host.id for host in found.values()) == {"c1s1": 8, "c1s2": 8}

    def test_is_always_the_same_if_there_is_only_one(self) -> None:
        assert {host.id for host in one(Setting()).values()} == {"c1s1"}


class TestTheCommand:
    def test_says_that_it_needs_root(self, capsys: pytest.CaptureFixture[str]) -> None:
        with mock.patch("os.geteuid", return_value=1000):
            assert main([]) == 2
        assert capsys.readouterr().err == "lab: needs root: chassis and boards of the lab are network namespaces\n"

    def test_says_which_presets_there_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["everything"]) == 2
        assert capsys.readouterr().err.startswith("lab: no preset is named everything; there are peers, ")

    def test_refuses_what_cannot_be_done_before_anything_is_made(self, capsys: pytest.CaptureFixture[str]) -> None:
        with mock.patch("bench.lab.__main__.missing", return_value=""):
            assert main(["--chassis", "0"]) == 2
        assert capsys.readouterr().err == "lab: 0 chassis are not between 1 and 200\n"


class TestALineOfALog:
    def test_says_when_a_board_reached_a_state(self) -> None:
        assert read_moment(LINE) == Moment(1769860800.25, "staged", "v-1")

    @pytest.mark.parametrize(
        "line",
        ["", "Traceback (most recent call last):", LINE.replace("at=agent.driver", "at=agent.other"), LINE[:40]],
    )
    def test_about_something_else_says_nothing(self, line: str) -> None:
        assert read_moment(line) is None


def raced(setting: Setting, *rounds: tuple[str, float], **more: float) -> Result:
    """Rounds of these contenders and seconds; `entered` is bytes into chassis 2, the rest figures."""
    shape = setting.shape
    entered = int(more.pop("entered", 0))
    traffic = Traffic(
        sent={host.id: setting.bytes * host.server for host in shape.hosts},
        received={host.id: setting.bytes * (not host.server) for host in shape.hosts},
        left=dict.fromkeys(range(1, shape.chassis + 1), 0),
        entered={chassis: entered * (chassis == 2) for chassis in range(1, shape.chassis + 1)},
    )
    figures = {key.replace("_", " "): value for key, value in more.items()}
    whole = {"idle MiB": 50.0, "peak MiB": 60.0}
    made = tuple(Round(name, seconds, traffic, seconds, 1.0, figures) for name, seconds in rounds)
    return Result(setting, made, {OURS: whole, PLAIN: whole})


class TestAResult:
    def test_is_a_table_of_medians(self) -> None:
        setting = Setting(shape=SMALL)
        floor = setting.floor
        found = table(raced(setting, (OURS, 2 * floor), (OURS, 1 * floor), (OURS, 7 * floor)))
        assert found[2].split(" | ")[1:3] == [f"{2 * floor:.2f}", "2.00"]
        assert len(found) == 3, "who did not take part is not in it"

    def test_names_the_contenders_in_the_order_they_were_asked_for(self) -> None:
        setting = Setting(shape=SMALL)
        found = table(raced(setting, ("nginx", 9 * setting.floor), (OURS, 2 * setting.floor)))
        assert [line.split(" | ")[0] for line in found[2:]] == [f"| {OURS}", "| nginx"]
        assert found[3].split(" | ")[1:5] == [f"{9 * setting.floor:.2f}", "9.00", "0.00 / 0.00", "1.00 / 1.00"]

    def test_is_measured_against_its_targets(self) -> None:
        setting = Setting()
        good = targets(raced(setting, (OURS, 1.2 * setting.floor), entered=setting.bytes * 0.02))
        assert good
        assert all(row.met for row in good)
        bad = targets(raced(setting, (OURS, 1.3 * setting.floor), entered=setting.bytes * 0.5, tier_elsewhere=1.0))
        assert [row.what for row in bad if not row.met] == [
            "times the floor",
            "copies into a chassis at the interface",
            "copies from elsewhere in blob bytes, by chassis",
        ]

    def test_of_a_chassis_without_servers_may_have_one_copy_over_each_link(self) -> None:
        setting = Setting(holders="only")
        one = setting.bytes * 1.05
        assert all(row.met for row in targets(raced(setting, (OURS, 9.0), entered=one, tier_elsewhere=one)))
        assert not all(row.met for row in targets(raced(setting, (OURS, 9.0), entered=2 * one, tier_elsewhere=one)))

    def test_of_one_board_is_measured_against_the_same_without_relay(self) -> None:
        setting = Setting(shape=Shape(1, 2, 1), contenders=BOTH)
        assert all(row.met for row in targets(raced(setting, (OURS, 3.0), (PLAIN, 3.0))))
        assert not all(row.met for row in targets(raced(setting, (OURS, 3.3), (PLAIN, 3.0))))

    def test_of_both_ways_is_measured_by_the_boards_cpu(self) -> None:
        setting = Setting(contenders=BOTH)
        assert all(row.met for row in targets(raced(setting, (OURS, 2.7), (PLAIN, 2.7))))
        assert not all(row.met for row in targets(raced(setting, (OURS, 2.7), (PLAIN, 2.0))))

    @pytest.mark.parametrize(
        ("setting", "target"),
        [
            (Setting(), 1.25),
            (Setting(size=128), 1.12),
            (Setting(shape=Shape(4)), 1.4),
            (Setting(shape=Shape(1, 2, 16)), 1.6),
            (Setting(size=128, kill="server"), 1.6),
            (Setting(holders="only"), None),
            (Setting(shape=Shape(1, 2, 1)), None),
        ],
    )
    def test_has_the_target_of_its_setting(self, setting: Setting, target: float | None) -> None:
        assert time_target(setting) == target
