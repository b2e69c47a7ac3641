"""The documentation says what the code does, where a machine can compare them."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from boardwright.cli.doctor.finding import Check
from boardwright.cli.init import init
from boardwright.config import load_agent, load_inventory, load_operator, load_server
from boardwright.model.api import BoardList, ServerList, SoftwareList
from boardwright.model.report import BoardReport, DeploymentState, Explanation
from boardwright.model.software import PIECE_SIZE, RANGE_SIZE, CommandSpec, HealthSpec, InstallSpec, Manifest
from boardwright.protocol.messages import MAX_DATAGRAM, Announcement, GroupOffer, GroupQuery, Holding, Offer, Request
from boardwright.transfer.options import SoftwareOptions, read_options

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def section(page: Path, title: str) -> str:
    """The text below the heading `title`, up to the next heading."""
    _, found, after = page.read_text().partition(f"# {title}\n")
    assert found, f"{page.name} has no heading {title!r}"
    return re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                yield page, target


@pytest.mark.parametrize(("page", "target"), list(links()), ids=str)
def test_every_link_leads_somewhere(page: Path, target: str) -> None:
    assert (page.parent / target).exists()


class TestExamplesOfConfiguration:
    def test_the_readme_s_inventory_is_taken_by_init(self, tmp_path: Path) -> None:
        (tmp_path / "cluster.toml").write_text(fenced(ROOT / "README.md", "toml")[0])
        assert init(tmp_path / "out", tmp_path / "cluster.toml").created == ("c1s1", "c1s3")

    def test_the_documented_files_load(self, tmp_path: Path) -> None:
        cluster, agent, server, _, operator = fenced(DOCS / "configuration.md", "toml")
        for name, text in {"cluster": cluster, "agent": agent, "server": server, "operator": operator}.items():
            (tmp_path / f"{name}.toml").write_text(text)
        inventory = load_inventory(tmp_path / "cluster.toml")
        assert load_agent(tmp_path / "agent.toml").board == inventory.boards[1].board
        assert load_server(tmp_path / "server.toml").location == inventory.boards[0].board.location
        assert load_operator(tmp_path).cluster == "core1"

    def test_the_commented_keys_of_the_inventory_load_as_well(self, tmp_path: Path) -> None:
        text = fenced(DOCS / "configuration.md", "toml")[0]
        text = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
        (tmp_path / "cluster.toml").write_text(text)
        assert load_inventory(tmp_path / "cluster.toml").unicast == (("10.0.9.9", 6687),)

    def test_a_version_s_description_has_the_fields_of_the_manifest(self) -> None:
        tables = tomllib.loads(fenced(DOCS / "configuration.md", "toml")[3])
        assert set(tables["software"]) <= set(SoftwareOptions.__struct_fields__)
        assert set(tables["install"]) | {"command"} == set(InstallSpec.__struct_fields__)
        msgspec.convert(tables["install"], InstallSpec)
        msgspec.convert(tables["health"], HealthSpec)

    def test_the_installer_command_is_shown_with_all_its_programs(self) -> None:
        options = read_options("hooks.md", fenced(DOCS / "hooks.md", "toml")[0].encode())
        assert options.install is not None
        assert options.install.command is not None
        assert all(getattr(options.install.command, name) for name in CommandSpec.__struct_fields__)


class TestTheProtocolsTables:
    @pytest.mark.parametrize(
        ("title", "struct", "entry"),
        [
            ("Version request (kind 1)", Request, GroupQuery),
            ("Offer (kind 2)", Offer, GroupOffer),
            ("Announcement (kind 3)", Announcement, None),
        ],
    )
    def test_every_field_is_there_with_its_key(
        self, title: str, struct: type[msgspec.Struct], entry: type[msgspec.Struct] | None
    ) -> None:
        table = rows(section(DOCS / "protocol.md", title))
        documented = [(row[0], row[1]) for row in table if row[0] != "field" and not row[0].startswith("-")]
        fields = msgspec.structs.fields(struct) + (msgspec.structs.fields(entry) if entry is not None else ())
        assert documented == [(field.name, field.encode_name) for field in fields]

    def test_the_manifest_s_fields_are_there(self) -> None:
        table = rows(section(DOCS / "protocol.md", "Manifest"))
        documented = {row[0] for row in table if row[0] != "field" and not row[0].startswith("-")}
        assert documented == set(Manifest.__struct_fields__)

    def test_the_numbers_are_those_of_the_code(self) -> None:
        text = (DOCS / "protocol.md").read_text()
        assert f"exactly {MAX_DATAGRAM:,} bytes" in text
        assert f"({PIECE_SIZE:,} bytes)" in text
        assert f"({RANGE_SIZE:,} bytes)" in text
        for holding in Holding:
            assert re.search(rf"\b{holding.value} (a )?{holding.name.lower()}\b", text)

    def test_the_example_of_a_report_is_one(self) -> None:
        (report,) = msgspec.convert(json.loads(fenced(DOCS / "protocol.md", "json")[1]), list[BoardReport])
        assert report.groups["platform"].state is DeploymentState.CONFIRMED


class TestTheJson:
    @pytest.mark.parametrize(("index", "struct"), [(0, BoardList), (1, ServerList), (2, SoftwareList)])
    def test_the_examples_are_what_the_commands_print(self, index: int, struct: type[msgspec.Struct]) -> None:
        example = json.loads(fenced(DOCS / "json.md", "json")[index])
        assert json.loads(msgspec.json.encode(msgspec.convert(example, struct))) == example

    def test_the_example_of_an_explanation_is_one(self) -> None:
        example = json.loads(fenced(DOCS / "json.md", "json")[3])["explanations"]
        assert json.loads(msgspec.json.encode(msgspec.convert(example, list[Explanation]))) == example

    def test_every_state_is_named(self) -> None:
        text = (DOCS / "json.md").read_text()
        for state in DeploymentState:
            assert f"`{state.value}`" in text


def test_the_glossary_is_sorted_and_says_each_word_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)


def test_every_decision_says_what_it_costs() -> None:
    for page in sorted((DOCS / "adr").glob("*.md")):
        assert "## Negative consequences" in page.read_text(), page.name


def test_every_check_of_the_doctor_is_explained_and_no_other() -> None:
    text = (DOCS / "operate" / "doctor.md").read_text()
    explained = {row[0] for row in rows(text) if len(row) == 3} - {"check"}
    assert {name for name in explained if not set(name) <= {"-"}} == {check.value for check in Check}
