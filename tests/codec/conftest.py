"""The library is built once for all tests here."""

from pathlib import Path

import pytest

from tests.support.codec import Codec, compile_codec


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("codec") / "libcodec.so"
    compile_codec(out, "-shared", "-fPIC")
    return out


@pytest.fixture(scope="session")
def codec(library: Path) -> Codec:
    return Codec(library)
