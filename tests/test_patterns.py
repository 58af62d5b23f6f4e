"""Patterns: what they match, edge by edge, that hostile topics cost nothing, and the line that says what to mend."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubsub.errors import ConfigError
from pubsub.patterns import Pattern

MATCHES = {
    "/": ["/"],
    "/prices": ["/prices"],
    "/prices/": ["/prices/"],
    "/*": ["/prices", "/%2A", "/*", "/**", "/..", "/é"],
    "/prices/*": ["/prices/eur", "/prices/*", "/prices/a=b", "/prices/%2F"],
    "/prices/*/": ["/prices/eur/"],
    "/*/last": ["/eur/last"],
    "/prices/eur-*": ["/prices/eur-usd", "/prices/eur-*"],
    "/prices/*-usd": ["/prices/eur-usd", "/prices/--usd"],
    "/a*a": ["/aba", "/aaa"],
    "/**": ["/", "/a", "/a/", "//", "/a/b/c", "//a"],
    "/rooms/**": ["/rooms", "/rooms/", "/rooms/1", "/rooms/1/talk", "/rooms//"],
    "/rooms/**/talk": ["/rooms/talk", "/rooms/1/talk", "/rooms/1/2/talk", "/rooms/talk/talk"],
    "/**/talk": ["/talk", "/a/talk", "//talk"],
    "/**/a/**": ["/a", "/b/a", "/a/b", "/b/a/b", "/a/a/a"],
    "/**/a/b/**/b": ["/a/b/b", "/a/a/b/b", "/x/a/b/x/b"],
    "/rooms/*/**": ["/rooms/1", "/rooms/1/", "/rooms/1/talk"],
    "/café/*": ["/caf%C3%A9/x"],
    "/a b": ["/a%20b"],
}
MATCHES_NOT = {
    "/": ["//", "/a"],
    "/prices": ["/prices/", "/Prices", "/price", "//prices", "/prices/eur"],
    "/*": ["/", "/a/", "/a/b", "//"],
    "/prices/*": ["/prices", "/prices/", "/prices/eur/", "/prices/eur/usd", "/price/eur"],
    "/*/last": ["/last", "//last", "/a/b/last"],
    "/prices/eur-*": ["/prices/eur-", "/prices/eur", "/prices/eur-/usd"],
    "/a*a": ["/a", "/aa"],
    "/rooms/**": ["/", "/room", "/roomsx", "/roomsx/1", "//rooms"],
    "/rooms/**/talk": ["/rooms", "/talk", "/rooms/talks", "/rooms/talk/1", "/rooms/talk/"],
    "/**/a/**": ["/", "/b", "/ab/ba"],
    "/**/a/b/**/b": ["/a/b", "/a/x/b/b", "/b/b"],
    "/rooms/*/**": ["/rooms", "/rooms/", "/rooms//talk"],
    "/café/*": ["/caf%c3%a9/x", "/café/x"],
}


@pytest.mark.parametrize(("pattern", "topic"), [(each, topic) for each in MATCHES for topic in MATCHES[each]])
def test_a_pattern_matches(pattern: str, topic: str) -> None:
    assert Pattern(pattern).matches(topic)


@pytest.mark.parametrize(("pattern", "topic"), [(each, topic) for each in MATCHES_NOT for topic in MATCHES_NOT[each]])
def test_a_pattern_does_not_match(pattern: str, topic: str) -> None:
    assert not Pattern(pattern).matches(topic)


def as_expression(pattern: str) -> str:
    """The same by backtracking: slow, and short enough to be seen to be right."""
    parts = [
        "(?:/[^/]*)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+")
        for part in pattern[1:].split("/")
    ]
    return "".join(parts)


SEGMENT = st.text("ab", max_size=2)
PARTS = st.lists(st.one_of(SEGMENT, st.sampled_from(["*", "a*", "*b", "**"])), min_size=1, max_size=6)


@given(
    PARTS.filter(lambda parts: "/**/**" not in "/" + "/".join(parts)),
    st.lists(SEGMENT, min_size=1, max_size=8),
)
def test_a_pattern_matches_what_a_regular_expression_says(parts: list[str], segments: list[str]) -> None:
    pattern, topic = "/" + "/".join(parts), "/" + "/".join(segments)
    assert Pattern(pattern).matches(topic) == bool(re.fullmatch(as_expression(pattern), topic))


@pytest.mark.parametrize("pattern", ["/**/a/**/a/**/a/**/a/**/b", "/**/a*a/**/a*a/**/a*b", "/**/a/a/a/a/a/a/a/b/**"])
@pytest.mark.parametrize("topic", ["/a" * 8000, "/" + "a" * 16_000, "/" * 16_000])
def test_a_long_topic_made_to_be_hard_takes_no_time(pattern: str, topic: str) -> None:
    """By backtracking these take longer than the world exists; here it is tens of milliseconds at most."""
    began = time.process_time()
    assert not Pattern(pattern).matches(topic)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("text", ["", "prices/*", "*", "**", "ws://h/prices", None, 7, b"/prices"])
def test_a_pattern_starts_with_a_slash(text: object) -> None:
    with pytest.raises(ConfigError, match=r"^overflow .* does not start with '/'; give one such as '/prices/\*', or"):
        Pattern(text, name="overflow")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["/***", "/a**", "/**a", "/a*b*c", "/x/*-*", "/a/****"])
def test_a_segment_has_one_star_or_is_two(text: str) -> None:
    with pytest.raises(ConfigError, match=r"several stars in one segment; give one in a segment, such as"):
        Pattern(text)


def test_two_double_stars_in_a_row_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match=r"\*\* twice in a row; one is any number of segments already"):
        Pattern("/a/**/**")


@pytest.mark.parametrize(("text", "cure"), [("/a?b", "%3F"), ("/a#b", "%23"), ("/\ud800", "UTF-8")])
def test_what_no_topic_can_be_no_pattern_can_be(text: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=f"^pattern: topic .*{cure}"):
        Pattern(text)


def test_patterns_of_the_same_text_are_equal() -> None:
    assert Pattern("/é") == Pattern("/%C3%A9") != Pattern("/e")
    assert len({Pattern("/a"), Pattern("/a"), Pattern("/b")}) == 2
    assert repr(Pattern("/a/*")) == "Pattern('/a/*')"
