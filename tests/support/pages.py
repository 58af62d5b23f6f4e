"""README and docs as tests read them: code blocks, what stands between backticks, tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BLOCKS", "PAGES", "ROOT", "Block", "blocks", "names_in", "prose", "spans", "table", "tables"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced code block; `how` is what stands behind its language."""

    page: str
    line: int
    language: str
    how: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        line = page.read_text().count("\n", 0, found.start()) + 1
        yield Block(page.name, line, found[1], found[2], found[3])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(language: str, how: str | None = None) -> list[Block]:
    return [each for each in BLOCKS if each.language == language and how in (None, each.how)]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def spans(*pages: Path) -> set[str]:
    """What stands between backticks."""
    return {" ".join(span.split()) for page in pages or PAGES for span in re.findall(r"`([^`]+)`", prose(page))}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(name: str, *heads: str) -> list[list[str]]:
    """The rows of the first table in docs/`name` whose first columns are headed so."""
    return tables(name, *heads)[0]


def tables(name: str, *heads: str) -> list[list[list[str]]]:
    """Those of all such tables."""
    lines = (ROOT / "docs" / name).read_text().split("\n")
    found = []
    for number, line in enumerate(lines):
        if line.startswith("|") and tuple(cells(line)[: len(heads)]) == heads:
            end = next(at for at in range(number, len(lines) + 1) if not lines[at].startswith("|"))
            found.append([cells(row) for row in lines[number + 2 : end]])
    if not found:
        raise LookupError(f"{name} has no table headed {heads}")
    return found


def names_in(*texts: str) -> list[str]:
    """What stands between backticks in the cells of a table."""
    return [span for text in texts for span in re.findall(r"`([^`]+)`", text)]
