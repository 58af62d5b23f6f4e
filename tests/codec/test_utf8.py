"""UTF-8 beside Python's own: every character, every cut, and everything that is none."""

import itertools
import random

import pytest

from tests.support.codec import Codec, Text

EVERY_CHARACTER = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
# Where the lengths, the surrogates and the end are.
BORDERS = "".join(EVERY_CHARACTER[at : at + 200] for at in (0, 0x800 - 100, 0xD800 - 100, 0xF800 - 100, -200))
# The ends of every range that RFC 3629 section 4 names, and a byte beyond each.
CONTINUATIONS = bytes([0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xFF])
TEXTS = {
    "ascii": "plain text, ",
    "two bytes": "Съешь ещё этих мягких булок, ",
    "three bytes": "敏捷的棕色狐狸跳过懒狗",
    "four bytes": "😀😁😂🤣",
    "all kinds": "a ß ह 😀 and much that is ASCII behind it, ",
}


def python_says(data: bytes) -> Text:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return Text.CUT if error.reason == "unexpected end of data" else Text.WRONG
    return Text.WHOLE


def test_every_character_is_text_however_it_is_cut(codec: Codec) -> None:
    assert codec.check_text(EVERY_CHARACTER.encode()) == [Text.WHOLE]
    for size in (1, 2, 3, 5, 31, 32, 33, 64, 100, 4096):
        data = (EVERY_CHARACTER if size > 30 else BORDERS).encode()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert Text.WRONG not in (verdicts := codec.check_text(*pieces)), size
        assert verdicts[-1] == Text.WHOLE


def test_one_and_two_bytes_of_any_kind_are_what_python_says(codec: Codec) -> None:
    for first in range(256):
        assert codec.check_text(bytes([first])) == [python_says(bytes([first]))]
        for second in range(256):
            pair = bytes([first, second])
            assert codec.check_text(pair) == [python_says(pair)], pair.hex()


def test_three_and_four_bytes_at_the_borders_are_what_python_says(codec: Codec) -> None:
    for first, second in itertools.product(range(0xC0, 0x100), CONTINUATIONS):
        for length in (1, 2):
            for more in itertools.product(CONTINUATIONS, repeat=length):
                data = bytes([first, second, *more])
                assert codec.check_text(data) == [python_says(data)], data.hex()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    "bad", ["80", "c080", "c1bf", "e08080", "eda080", "edbfbf", "f0808080", "f4908080", "f8", "ff"]
)
def test_a_wrong_byte_is_told_of_at_once_wherever_it_is(codec: Codec, name: str, bad: str) -> None:
    """Autobahn 6.4: the message goes on, and the verdict is there."""
    text = (TEXTS[name] * 24).encode()
    for at in range(200):
        data = text[:at] + bytes.fromhex(bad) + text[at:]
        wrong = next(size for size in range(at, len(data) + 1) if python_says(data[:size]) == Text.WRONG)
        for size in (wrong - 1, wrong, wrong + 40, len(data)):
            assert codec.check_text(data[:size]) == [python_says(data[:size])], (at, size)


@pytest.mark.parametrize("name", TEXTS)
def test_a_cut_anywhere_changes_nothing(codec: Codec, name: str) -> None:
    text = (TEXTS[name] * 24).encode()[:260]
    for cut in range(len(text) + 1):
        expected = [python_says(text[:cut]), python_says(text)]
        assert codec.check_text(text[:cut], text[cut:]) == expected, cut
        assert codec.check_text(text[:cut], b"", text[cut:])[-1] == expected[-1], cut


def test_random_changes_are_what_python_says_at_every_piece(codec: Codec) -> None:
    noise = random.Random(7)
    for _ in range(3000):
        data = bytearray("".join(noise.choices([*TEXTS.values()], k=3)).encode() * noise.randrange(1, 6))
        for _ in range(noise.randrange(3)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        cuts = sorted(noise.choices(range(len(data) + 1), k=noise.randrange(4)))
        pieces = [bytes(data[a:b]) for a, b in itertools.pairwise([0, *cuts, len(data)])]
        expected = [python_says(bytes(data[:cut])) for cut in [*cuts, len(data)]]
        assert codec.check_text(*pieces) == expected, (bytes(data), cuts)


def test_wrong_stays_wrong(codec: Codec) -> None:
    assert codec.check_text(b"\xff", b"", b"text", b"text" * 100) == [Text.WRONG] * 4


def test_a_way_passes_over_text_and_never_over_what_is_none(codec: Codec) -> None:
    noise = random.Random(8)
    for way, name in itertools.product(codec.text_ways, TEXTS):
        text = (TEXTS[name] * 24).encode()
        for size in range(240):
            skipped = codec.skip(way, text[:size])
            assert python_says(text[:skipped]) == Text.WHOLE, (way, name, size)
            if size >= 36 and (way != "plain" or name == "ascii"):
                # All but the character that is cut; word by word, all but a part of a word.
                assert skipped > size - (8 if way == "plain" else 4), (way, name, size)
            changed = bytearray(text[:size])
            if changed:
                changed[noise.randrange(size)] = noise.randrange(256)
            assert python_says(bytes(changed[: codec.skip(way, bytes(changed))])) == Text.WHOLE, (way, changed)
