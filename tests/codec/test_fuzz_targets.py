"""The fuzz targets hold over their corpus and a little noise, built as they are where there is no clang."""

import subprocess
from pathlib import Path

import pytest

from tests.support.codec import ROOT, compile_codec

FUZZ = ROOT / "tests" / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.c"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_over_its_corpus(target: str, tmp_path: Path) -> None:
    corpus = FUZZ / "corpus" / target
    compile_codec(tmp_path / target, str(FUZZ / "driver.c"), str(FUZZ / f"fuzz_{target}.c"))
    done = subprocess.run(
        [tmp_path / target, "-runs=2000", "-seed=1", f"-artifact_prefix={tmp_path}/", corpus],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len([*corpus.iterdir()])} inputs of the corpus, 2000 random ones" in done.stderr
