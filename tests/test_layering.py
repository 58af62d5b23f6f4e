"""Who may import whom. The table is docs/architecture.md's; any other arrow fails here.

    command ──► shell ──► engine            clients ──► sans-IO
       │          └─────► sans-IO           mounts ───► shell
       └──► everything
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# The ring of each module of pubsub; a package stands for all it holds. Every module of fastfan is of the engine.
RINGS = {
    "sans-IO": {
        *("addresses", "closing", "connection", "errors", "events", "gap", "handshake", "http_door", "options"),
        *("origins", "overflow", "patterns", "reconnect", "units", "upgrade"),
    },
    "clients": {"client", "dialing", "link", "outbox", "publisher", "subscriber", "sync", "telling"},
    "shell": {
        *("arrival", "broker", "census", "desk", "eventstream", "gate", "inprocess", "leaving", "listening"),
        *("rates", "reader", "server", "session", "stats"),
    },
    "mounts": {"aiohttp", "asgi", "channel", "hub", "term"},
    "command": {"__main__", "bench", "cli"},
    "face": {"__init__"},
}

MAY_IMPORT = {
    "sans-IO": {"sans-IO"},
    "engine": {"engine"},
    "shell": {"shell", "sans-IO", "engine"},
    "mounts": {"mounts", "shell", "sans-IO", "engine"},
    "clients": {"clients", "sans-IO"},
    "command": {"command", "shell", "clients", "sans-IO", "engine", "face"},
    "face": {"shell", "mounts", "clients", "sans-IO"},
}

# Beyond the standard library, and what of it a ring goes without.
PACKAGES = {"sans-IO": {"wsproto", "h11"}, "mounts": {"aiohttp"}, "command": {"click"}}
GOES_WITHOUT = {"sans-IO": {"asyncio", "socket", "time"}, "engine": {"asyncio"}}

CYTHON_ITSELF = {"cpython", "cython", "libc", "posix"}  # what every Cython module may cimport

# Whatever their ring.
ONLY_IMPORTERS = {"wsproto": {"pubsub.connection", "pubsub.upgrade"}, "aiohttp": {"pubsub.aiohttp"}}
ONLY_IMPORTING_RING = {"fastfan.load": "command"}


def ring_of(module: str) -> str:
    """The ring of a dotted module name of ours; a new module of pubsub must be given one above."""
    package, _, rest = module.partition(".")
    if package == "fastfan":
        return "engine"
    name = rest.partition(".")[0] or "__init__"
    for ring, names in RINGS.items():
        if name in names:
            return ring
    raise LookupError(f"{module} is in no ring: give it one in {Path(__file__).name} and in docs/architecture.md")


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("fastfan", "pubsub")


def sources(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in SOURCE.glob(pattern))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every dotted name that the file imports, at any depth, for types only too: that is an arrow as well."""
    if path.suffix in (".pyx", ".pxd"):
        yield from cython_imports(path)
    else:
        found = python_imports(path)
        # Type checkers bring typing_extensions themselves: a stub may always use it.
        yield from (name for name in found if path.suffix == ".py" or name != "typing_extensions")


def python_imports(path: Path) -> Iterator[str]:
    package = path.relative_to(SOURCE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), path.name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (submodule_or_origin(origin, alias.name) for alias in node.names)


def cython_imports(path: Path) -> Iterator[str]:
    package = path.parent.name
    for line in path.read_text().splitlines():
        if found := re.match(r"\s*from\s+(\S+)\s+c?import\b", line):
            origin = found[1]
            yield (package + "." + origin.lstrip(".")).rstrip(".") if origin.startswith(".") else origin
        elif found := re.match(r"\s*c?import\s+(.+)", line):
            yield from (name.split()[0] for name in found[1].split(","))


def submodule_or_origin(origin: str, name: str) -> str:
    """`from pubsub import events` means the module; `from pubsub import Event` the package that gives the name."""
    place = SOURCE.joinpath(*origin.split("."), name)
    is_module = place.is_dir() or any(place.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))
    return f"{origin}.{name}" if is_ours(origin) and is_module else origin


def fault(importer: str, imported: str) -> str | None:
    """Why this arrow may not be, or None."""
    ring, top = ring_of(importer), imported.partition(".")[0]
    if importer not in ONLY_IMPORTERS.get(top, {importer}):
        return f"only {' and '.join(sorted(ONLY_IMPORTERS[top]))} may import {top}"
    if ONLY_IMPORTING_RING.get(imported, ring) != ring and ring != "engine":
        return f"only the {ONLY_IMPORTING_RING[imported]} imports {imported}"
    if is_ours(imported):
        target = ring_of(imported)
        return None if target in MAY_IMPORT[ring] else f"the {ring} may not import the {target}"
    if top in GOES_WITHOUT.get(ring, ()):
        return f"the {ring} goes without {top}"
    if top in sys.stdlib_module_names or top in PACKAGES.get(ring, ()):
        return None
    if ring == "engine" and top in CYTHON_ITSELF:
        return None
    return f"{top} is not one of the packages that the {ring} may import"


@pytest.mark.parametrize(
    "path",
    sources("**/*.py", "**/*.pyi", "**/*.pyx", "**/*.pxd"),
    ids=lambda path: path.relative_to(SOURCE).as_posix(),
)
def test_a_module_imports_only_what_its_ring_may(path: Path) -> None:
    importer = module_name(path)
    faults = [f"{imported}: {why}" for imported in imports(path) if (why := fault(importer, imported))]
    assert not faults, f"{path.name} imports " + "; ".join(faults)


@pytest.mark.parametrize("path", sources("fastfan/**/*.c", "fastfan/**/*.h"), ids=lambda path: path.name)
def test_hand_written_c_knows_nothing_of_python(path: Path) -> None:
    assert "Python.h" not in re.findall(r'#\s*include\s*[<"]([^>"]+)', path.read_text())


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("pubsub.handshake", "asyncio"),
        ("pubsub.options", "time"),
        ("pubsub.events", "fastfan"),
        ("pubsub.handshake", "wsproto.events"),
        ("pubsub.publisher", "pubsub.server"),
        ("pubsub.subscriber", "fastfan"),
        ("pubsub.session", "pubsub.publisher"),
        ("pubsub.server", "click"),
        ("pubsub.server", "fastfan.load"),
        ("fastfan._engine", "pubsub.events"),
        ("fastfan", "asyncio"),
        ("pubsub.connection", "pubsub"),
    ],
)
def test_a_forbidden_arrow_is_noticed(importer: str, imported: str) -> None:
    assert fault(importer, imported)
