"""Fails when a wheel lacks its engine or its types: `python tools/check_wheel.py WHEEL...`.

The build backend makes a pure wheel without a word when it does not find CMakeLists.txt, so nobody trusts it.
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def faults(wheel: Path) -> Iterator[str]:
    """Each thing that is wrong with the wheel, as a line of text."""
    if wheel.name.endswith("none-any.whl"):
        yield "is tagged none-any: CMake was skipped, the engine is not in it"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for module in SOURCE.glob("fastfan/**/_*.pyx"):
        stem = module.relative_to(SOURCE).with_suffix("").as_posix()
        if not any(name.startswith(f"{stem}.") and name.endswith(".so") for name in names):
            yield f"lacks the extension module {stem.replace('/', '.')}"
    for pattern in ("*/py.typed", "**/*.pyi", "fastfan/*.pxd", "fastfan/*.h", "**/*.py"):
        for wanted in SOURCE.glob(pattern):
            name = wanted.relative_to(SOURCE).as_posix()
            if name not in names:
                yield f"lacks {name}"
    for name in names:
        if name.endswith((".c", ".pyx")) or not name.startswith(("fastfan/", "pubsub/", "fastfan-", "fastfan.libs/")):
            yield f"holds {name}, which nobody needs at run time"


def main() -> int:
    wrong = [f"{wheel}: {fault}" for wheel in sys.argv[1:] for fault in faults(Path(wheel))]
    print("\n".join(wrong) or f"{' '.join(sys.argv[1:])}: complete")
    return 1 if wrong or not sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
