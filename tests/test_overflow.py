"""The option `overflow`: how rules are given, which of them a topic follows, and what is no rule."""

import dataclasses
from typing import Any

import pytest

from pubsub import ConfigError, Options, OverflowRule
from pubsub.overflow import POLICIES, LagTerms

LATEST = OverflowRule("/prices/*", "latest")
SKIP = OverflowRule("/chat/**", "skip", max_lag_messages=100, max_lag_age=0.5)


@pytest.mark.parametrize(
    "given",
    [
        {"/prices/*": "latest", "/chat/**": "skip"},
        [("/prices/*", "latest"), ("/chat/**", "skip")],
        ("/prices/*=latest", OverflowRule("/chat/**", "skip")),
        "/prices/*=latest /chat/**=skip",
        ["/prices/*=LATEST", "/chat/**=Skip"],
    ],
)
def test_rules_may_be_given_as_text_pairs_mappings_and_rules(given: Any) -> None:
    assert Options(overflow=given).overflow == (LATEST, OverflowRule("/chat/**", "skip"))
    assert Options.from_mapping({"Overflow": given}) == Options(overflow=given)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_may_be_given(policy: str) -> None:
    assert Options(overflow=(f"/a={policy}",)).overflow[0].policy == policy  # type: ignore[arg-type]


def test_a_rule_may_have_bounds_in_the_words_of_the_options() -> None:
    text = "/chat/**=skip,max_lag_messages=100,max-lag-age=500ms"
    assert Options.from_mapping({"overflow": text}).overflow == (SKIP,)
    rule = Options.from_mapping({"overflow": "/a=block,max_lag_bytes=1MiB"}).overflow[0]
    assert rule == OverflowRule("/a", "block", max_lag_bytes=1 << 20)


def test_a_pattern_may_have_an_equals_sign_and_a_comma() -> None:
    rules = Options.from_mapping({"overflow": ["/a=b=skip", "/a=b,c=d=block,max_lag_bytes=7", "/a,b=latest"]}).overflow
    assert [(rule.pattern, rule.policy) for rule in rules] == [
        ("/a=b", "skip"),
        ("/a=b,c=d", "block"),
        ("/a,b", "latest"),
    ]


def test_a_pattern_is_written_as_requests_write_topics() -> None:
    assert OverflowRule("/café/*", "latest") == OverflowRule("/caf%C3%A9/*", "latest")


def test_a_rule_as_text_is_what_makes_it() -> None:
    for rule in (LATEST, SKIP, OverflowRule("/**", "block", max_lag_bytes=1)):
        assert Options.from_mapping({"overflow": str(rule)}).overflow == (rule,)


def test_options_with_rules_can_be_copied_compared_and_hashed() -> None:
    options = Options(overflow=(LATEST, SKIP))
    assert options.replace() == options
    assert options.replace(overflow=()).overflow == ()
    assert len({options, options.replace(ping_interval=20)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        LATEST.policy = "skip"  # type: ignore[misc]


# --- which rule counts ------------------------------------------------------------------------------------------------


def policy_of(topic: str, *rules: str) -> str:
    return Options.from_mapping({"overflow": rules}).lag_terms(topic).policy


def test_without_a_rule_that_matches_the_policy_is_disconnect() -> None:
    assert policy_of("/a") == policy_of("/a", "/b=skip") == "disconnect"


def test_the_first_rule_that_matches_counts() -> None:
    rules = ("/prices/eur=block", "/prices/*=latest", "/**=skip")
    assert [policy_of(topic, *rules) for topic in ("/prices/eur", "/prices/usd", "/prices", "/")] == [
        *("block", "latest", "skip", "skip")
    ]
    assert policy_of("/prices/eur", *rules[::-1]) == "skip"


def test_an_exception_to_a_rule_is_a_rule_before_it() -> None:
    assert policy_of("/prices/audit", "/prices/audit=disconnect", "/prices/*=latest") == "disconnect"


def test_a_bound_that_a_rule_does_not_set_is_the_one_for_all_topics() -> None:
    options = Options(overflow=(SKIP,), max_lag_bytes=10 << 20, max_lag_age=7)
    assert options.lag_terms("/chat/1") == LagTerms("skip", 10 << 20, 100, 0.5, 4 << 20)
    assert options.lag_terms("/news") == LagTerms("disconnect", 10 << 20, None, 7.0, 4 << 20)


def test_pacing_begins_below_the_bound_of_a_rule_too() -> None:
    options = Options.from_mapping({"overflow": "/small=skip,max_lag_bytes=1000 /one=block,max_lag_bytes=1"})
    assert options.lag_terms("/small").pace_lag_bytes == 500
    assert options.lag_terms("/one").pace_lag_bytes == 1
    assert options.lag_terms("/other").pace_lag_bytes == 4 << 20


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (7, r"overflow=7 is no list of rules; give one such as"),
        (None, r"overflow=None is no list of rules; give one such as"),
        ([7], r"overflow: 7 is no rule; give PATTERN=POLICY, such as '/prices/\*=latest'"),
        ([("/a",)], r"overflow: \('/a',\) is no rule; give PATTERN=POLICY"),
        ({"/a": 1}, r"overflow: \('/a', 1\) is no rule; give PATTERN=POLICY"),
        ("/a", r"overflow: '/a' is no rule; give PATTERN=POLICY"),
        ("/a=skip=", r"overflow: '' for '/a=skip' is no policy; give disconnect, skip, latest or block"),
        ("/a=", r"overflow: '' for '/a' is no policy; give disconnect, skip, latest or block"),
        ("/a=lates", r"overflow: 'lates' for '/a' is no policy; give disconnect, skip, latest or block"),
        ("a=skip", r"overflow: pattern 'a' does not start with '/'; give one such as"),
        ("=skip", r"overflow: pattern '' does not start with '/'; give one such as"),
        ("/a***=skip", r"overflow: pattern '/a\*\*\*' has several stars in one segment; give"),
        ("/a=skip,ping_interval=1", r"overflow: 'ping_interval' in .* is no bound; give max_lag_bytes or"),
        ("/a=skip,max_lag_age=1,max-lag-age=2", r"overflow: 'max-lag-age' is given twice in .*; give it once"),
        ("/a=skip,max_lag_bytes=0", r"overflow: /a: max_lag_bytes=0 is below 1; give a number such as"),
        ("/a=skip,max_lag_messages=many", r"overflow: /a: max_lag_messages='many' is no whole number; give one such"),
        ("/a=skip,max_lag_age=0", r"overflow: /a: max_lag_age=0\.0 is below 0\.01 s; give a duration such as"),
        ("/a=latest,max_lag_age=1s", r"overflow: latest for '/a' has max_lag_age, and needs no bound; leave it out"),
    ],
)
def test_what_is_no_rule_is_refused_with_value_limit_and_cure(given: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Options(overflow=given)  # type: ignore[arg-type]


def test_bounds_of_rules_are_checked_as_those_for_all_topics() -> None:
    with pytest.raises(ConfigError, match=r"overflow: /a: max_lag_bytes=True is no whole number"):
        Options(overflow=(OverflowRule("/a", "skip", max_lag_bytes=True),))


def test_a_rule_by_itself_checks_pattern_and_policy() -> None:
    with pytest.raises(ConfigError, match="is no policy"):
        OverflowRule("/a", "drop")
    with pytest.raises(ConfigError, match="does not start with '/'"):
        OverflowRule("a", "skip")
