"""What README and docs name exists, and what exists is named: options, flags, codes, counts, members, files.

A table is known by the heads of its columns. What it lists must be what the code has: no more, no less.
"""

import ast
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import click
import pytest

import fastfan
import pubsub
from pubsub import closing, handshake, reconnect
from pubsub.cli.command import fastpubsub
from pubsub.units import parse_duration, parse_size
from tests.support.pages import PAGES, ROOT, names_in, prose, spans, table, tables

# --- flags ----------------------------------------------------------------------------------------------------------


def flags_of(command: click.Command) -> set[str]:
    """The long flags."""
    flags = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    return {flag for flag in flags if flag.startswith("--")}


def test_flags_between_backticks_exist() -> None:
    known = set().union(*(flags_of(each) for each in [fastpubsub, *fastpubsub.commands.values()])) | {"--help"}
    named = {flag for span in spans() for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    assert named <= known


def test_every_flag_is_told_of() -> None:
    options = {f"--{field.name.replace('_', '-')}" for field in fields(pubsub.Options)} | {"--no-lane"}
    assert set(names_in(*(row[0] for row in table("operating.md", "`serve` takes")))) == (
        flags_of(fastpubsub.commands["serve"]) - options
    )
    rows = {row[0].strip("`").split()[1]: row[1] for row in table("operating.md", "command", "takes")[:-1]}
    assert set(rows) == set(fastpubsub.commands) - {"serve"}
    for name, flags in rows.items():
        assert {each for each in names_in(flags) if each.startswith("--")} == flags_of(fastpubsub.commands[name])


# --- names and tables -----------------------------------------------------------------------------------------------


def documented(text: str) -> float | tuple[()] | None:
    """A default as the table of options writes it."""
    if text == "on":
        return True
    if text in ("off", "a quarter"):
        return None
    if text == "none":
        return ()
    return parse_duration(text) if text.endswith("s") else parse_size(text)


def test_options_and_their_defaults_are_the_table() -> None:
    rows = {row[0].strip("`"): documented(row[1]) for row in table("operating.md", "option", "default")}
    assert rows == {field.name: field.default for field in fields(pubsub.Options)}


# What bounds something, and is no limit that a request or a client can meet.
NO_LIMITS = {"ping_interval", "topic_linger", "max_lingering_topics", "pace_lag_bytes", "event_buffer", "io_threads"}


def may_be_off(name: str) -> bool:
    try:
        return getattr(pubsub.Options.from_mapping({name: "off"}), name) is None
    except pubsub.ConfigError:
        return False


def test_limits_their_defaults_and_which_may_be_off_are_the_tables() -> None:
    rows = [row for each in tables("limits.md", "limit", "default", "beyond it", "shown by") for row in each]
    told = {name: row[1] for row in rows for name in names_in(row[0])}
    numbers = (int, float, int | None, float | None)
    defaults = {field.name: field.default for field in fields(pubsub.Options) if field.type in numbers}
    assert set(told) == set(defaults) - NO_LIMITS
    assert {name: documented(text) for name, text in told.items()} == {name: defaults[name] for name in told}
    page = " ".join(prose(ROOT / "docs" / "limits.md").split())
    on = re.search(r"Of those that are on, (.*) are taken off by the word `off`", page)
    assert on is not None
    off = {name for name, text in told.items() if text == "off"}
    assert {*names_in(on[1]), *off} == {name for name in told if may_be_off(name)}


def test_arguments_of_the_clients_and_their_defaults_are_the_table() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("clients.md", "argument", "default")}
    parameters = dict(inspect.signature(pubsub.Publisher).parameters)
    # Subscriber passes the others on.
    parameters |= {name: each for name, each in inspect.signature(pubsub.Subscriber).parameters.items() if each.default}
    parameters["text"] = inspect.signature(pubsub.Subscriber).parameters["text"]
    expected = {name: each for name, each in parameters.items() if name not in ("url", "arguments")}
    assert set(rows) == set(expected)
    for name, text in rows.items():
        if text not in ("none", "the system's", "asyncio's"):
            assert text == str(expected[name].default), name


def test_limits_of_coming_back_and_their_defaults_are_the_table() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("clients.md", "limit", "default")}
    assert rows == {field.name: str(field.default) for field in fields(pubsub.Reconnect)}


def test_statuses_and_codes_after_which_clients_come_back_are_told_of() -> None:
    text = prose(ROOT / "docs" / "clients.md")
    assert {int(status) for status in re.findall(r"\b(?:408|429|50\d)\b", text)} == reconnect._PASSING


def test_close_codes_are_the_table() -> None:
    rows = [tuple(row[:4]) for row in table("protocol.md", "code", "reason", "label", "come back")]
    code = closing.TABLE.values()
    assert rows == [(str(each.code), each.reason, each.label, "yes" if each.come_back else "no") for each in code]


def test_close_codes_in_the_prose_exist() -> None:
    named = {int(code) for page in PAGES for code in re.findall(r"(?<![\d,.])10[01]\d(?![\d,])", prose(page))}
    assert named <= set(closing.TABLE)


def test_statuses_of_refusals_are_the_table() -> None:
    numbers = set()
    for name in ("arrival", "broker", "connection", "gate", "handshake", "http_door"):
        tree = ast.parse((ROOT / "src" / "pubsub" / f"{name}.py").read_text())
        numbers |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    refusals = {number for number in numbers if type(number) is int and 400 <= number < 600}
    assert {int(row[2]) for row in table("protocol.md", "step", "fault", "status")} == refusals


def test_events_are_the_tables() -> None:
    rows = [(int(row[0]), row[1]) for row in table("operating.md", "type", "name", "when")]
    assert rows == [(int(each), each.label) for each in pubsub.EventType]
    rows = [(int(row[2]), row[0].strip("`")) for row in table("migrating-from-go.md", "there", "here", "number")]
    assert rows == [(int(each), f"EventType{each.label}") for each in pubsub.EventType]


def errors_of(package: ModuleType) -> set[str]:
    named = {name: getattr(package, name) for name in package.__all__}
    return {name for name, each in named.items() if isinstance(each, type) and issubclass(each, Exception)}


def engine_stats() -> set[str]:
    engine = fastfan.Engine()
    engine.close()
    return set(engine.stats())


# Page and heads of a table, and what its first column has to list.
LISTS: dict[tuple[str, ...], Callable[[], set[str]]] = {
    ("operating.md", "field", "counts"): lambda: {field.name for field in fields(pubsub.Stats)},
    ("embedding.md", "in `engine.stats()`", "counts"): engine_stats,
    ("embedding.md", "kind", "means"): lambda: {each.name for each in fastfan.EventKind},
    ("embedding.md", "cause", "means"): lambda: {each.name for each in fastfan.Cause},
    ("embedding.md", "error", "when"): lambda: errors_of(fastfan),
    ("clients.md", "error"): lambda: errors_of(pubsub),
    ("clients.md", "of a gap"): lambda: {field.name for field in fields(pubsub.Gap)},
    ("protocol.md", "role", "does"): lambda: set(handshake._ROLES),
}


@pytest.mark.parametrize("place", LISTS, ids=" ".join)
def test_names_of_the_code_are_the_table(place: tuple[str, ...]) -> None:
    assert set(names_in(*(row[0] for row in table(*place)))) == LISTS[place]()


def test_limits_are_the_constants() -> None:
    sources = [path.read_text() for suffix in ("py", "pyx", "pxd", "h") for path in ROOT.glob(f"src/*/*.{suffix}")]
    definition = r"^\s*(?:#define )?([A-Z_]{4,})(?: = | )(\d[\d_]*(?: (?:<<|\*) \d+)?)"
    constants = {name: eval(value) for text in sources for name, value in re.findall(definition, text, re.M)}
    for what, limit, constant in table("operating.md", "what", "limit", "in the code"):
        assert int(limit.split()[0].replace(",", "")) == eval(constant.strip("`"), {}, constants), what


def test_the_readme_names_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]]
    assert f"dependencies: {', '.join(names)}" in " ".join(PAGES[0].read_text().split())


def test_every_variable_of_the_environment_is_told_of() -> None:
    sources = [path.read_text() for path in ROOT.glob("src/**/*.py")]
    named = {name for text in sources for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text)}
    assert named == {"PUBSUB_ADDR"}


CLASSES = {
    "engine": fastfan.Engine,
    "topic": fastfan.Topic,
    "reader": fastfan.Reader,
    "server": pubsub.Server,
    "hub": pubsub.Hub,
    "publisher": pubsub.Publisher,
    "subscriber": pubsub.Subscriber,
}


def members_named(*pages: Path) -> set[tuple[str, str]]:
    """("engine", "turn") for every `engine.turn()` between backticks."""
    found = re.compile(rf"(?<![\w.-])({'|'.join(CLASSES)})\.([a-z_]+)(?![\w.])")
    return {pair for span in spans(*pages) for pair in found.findall(span) if pair[1] not in SUFFIXES}


SUFFIXES = {"py", "pyx", "pyi", "pxd", "c", "h", "md", "html"}


def test_members_between_backticks_exist() -> None:
    assert [pair for pair in members_named() if not hasattr(CLASSES[pair[0]], pair[1])] == []


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("engine", "embedding.md"),
        ("topic", "embedding.md"),
        ("reader", "embedding.md"),
        ("server", "embedding.md"),
        ("hub", "web-applications.md"),
        ("publisher", "clients.md"),
    ],
)
def test_every_public_member_is_told_of(name: str, page: str) -> None:
    public = {(name, member) for member in dir(CLASSES[name]) if not member.startswith("_")}
    assert public <= members_named(ROOT / "docs" / page)


def test_what_cython_modules_may_cimport_is_the_table() -> None:
    text = (ROOT / "src" / "fastfan" / "__init__.pxd").read_text()
    named = set(re.findall(r"\b(?:fastfan|FASTFAN)_\w+", text.partition("cimport (")[2]))
    listed = re.findall(r"\b(?:fastfan|FASTFAN)_\w+", str(table("embedding.md", "to cimport", "does")))
    assert named - {"fastfan_topic"} == set(listed)


def test_names_that_look_like_options_are_some() -> None:
    known = {field.name for each in (pubsub.Options, pubsub.Stats) for field in fields(each)} | engine_stats()
    for call in (pubsub.Publisher, pubsub.Subscriber, pubsub.Reconnect, pubsub.Server.close):
        known |= set(inspect.signature(call).parameters)
    known |= {cause.name.lower() for cause in fastfan.Cause}
    known |= set(re.findall(r"^ +(\w+): ", (ROOT / "src" / "fastfan" / "_engine.pyi").read_text(), re.M))
    looks = re.compile(r"\b(?:max|min|pace)_\w+|\b\w+_(?:deadline|timeout|interval|bytes|linger|origins|buffer)\b")
    named = {name for span in spans() for name in looks.findall(span) if "." not in span}
    assert named <= known


# --- files ----------------------------------------------------------------------------------------------------------


def files_of_the_project() -> set[str]:
    """Names, and paths from the root."""
    files = [path for folder in ("src", "tests", "docs", "examples") for path in (ROOT / folder).rglob("*")]
    return {path.name for path in files} | {path.relative_to(ROOT).as_posix() for path in files}


def test_files_between_backticks_exist() -> None:
    named = {span for span in spans() if re.fullmatch(rf"[\w./-]+\.(?:{'|'.join(SUFFIXES)})", span)}
    assert named <= files_of_the_project()


def test_every_source_file_is_told_of() -> None:
    sources = [path for suffix in ("py", "pyx", "c", "h") for path in (ROOT / "src").glob(f"*/*.{suffix}")]
    # Cython run by hand leaves its C beside the sources.
    names = {path.name for path in sources if not re.fullmatch(r"__\w+__\.py|_\w+\.c", path.name)}
    assert names <= spans(ROOT / "docs" / "architecture.md")


# --- faults ---------------------------------------------------------------------------------------------------------


def test_tests_named_in_the_docs_exist_and_every_test_of_a_fault_is_told_of() -> None:
    named = {path for page in PAGES for path in re.findall(r"tests/[\w/]+\.py", prose(page))}
    assert {path for path in named if not (ROOT / path).exists()} == set()
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/faults/test_*.py")} <= named
