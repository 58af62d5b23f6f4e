"""What happens to subscribers that are too slow, topic by topic: the option `overflow`.

    /prices/*=latest                            one rule: a pattern and a policy
    /chat/**=skip,max_lag_messages=100          ... and bounds of its own

A topic follows the first rule whose pattern matches it; without one, `disconnect` and the bounds for all. What each
policy does is told in docs/operating.md, and done in the engine.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pubsub.errors import ConfigError, shown
from pubsub.patterns import Pattern

__all__ = ["BOUNDS", "GAPS", "POLICIES", "LagTerms", "OverflowRule", "overflow_rules"]

POLICIES: Final = ("disconnect", "skip", "latest", "block")

# Those under which a subscriber may miss a message and stay.
GAPS: Final = frozenset({"skip", "latest"})

# What a rule may set besides its policy, under the names of the options that hold for all topics.
BOUNDS: Final = ("max_lag_bytes", "max_lag_messages", "max_lag_age")

# A pattern may have `=` and `,` in it: the policy is the last word before the bounds.
_RULE = re.compile(r"(?P<pattern>.*?)=(?P<policy>[A-Za-z]*)(?P<bounds>(?:,[A-Za-z_-]+=[^,=]*)*)")

Check = Callable[[str, object], Any]


class LagTerms(NamedTuple):
    """How one topic treats the slow."""

    policy: str
    max_lag_bytes: int
    max_lag_messages: int | None
    max_lag_age: float | None
    pace_lag_bytes: int


@dataclass(frozen=True, slots=True)
class OverflowRule:
    """The policy for topics that match `pattern`. A bound that is None is the server's own.

    Raises ConfigError for a pattern or a policy that is none, and for bounds under `latest`, which has none.
    """

    pattern: str
    policy: str
    max_lag_bytes: int | None = None
    max_lag_messages: int | None = None
    max_lag_age: float | None = None
    _pattern: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", Pattern(self.pattern, name="overflow: pattern"))
        object.__setattr__(self, "pattern", self._pattern.text)
        if self.policy not in POLICIES:
            raise ConfigError(
                f"overflow: {shown(self.policy)} for {shown(self.pattern)} is no policy; "
                f"give {', '.join(POLICIES[:-1])} or {POLICIES[-1]}"
            )
        if self.policy == "latest" and self.bounds:
            raise ConfigError(
                f"overflow: latest for {shown(self.pattern)} has {', '.join(self.bounds)}, and needs no bound; "
                f"leave it out, or give skip"
            )

    def __str__(self) -> str:
        bounds = "".join(f",{name}={value}" for name, value in self.bounds.items())
        return f"{self.pattern}={self.policy}{bounds}"

    @property
    def bounds(self) -> dict[str, Any]:
        """Those that it sets."""
        values = {name: getattr(self, name) for name in BOUNDS}
        return {name: value for name, value in values.items() if value is not None}

    def matches(self, topic: str) -> bool:
        """Whether `topic`, an escaped path, is one of those meant."""
        return self._pattern.matches(topic)


def overflow_rules(value: object, checks: Mapping[str, Check]) -> tuple[OverflowRule, ...]:
    """Rules from what an operator may give: text, rules, pairs of pattern and policy, or a mapping of such.

    `checks` are those of the options that BOUNDS names.
    """
    if isinstance(value, str):
        value = value.split()
    if isinstance(value, Mapping):
        value = list(value.items())
    if not isinstance(value, list | tuple):
        raise ConfigError(f"overflow={shown(value)} is no list of rules; give one such as ('/prices/*=latest',)")
    return tuple(_checked(_rule(each), checks) for each in value)


def _rule(value: object) -> OverflowRule:
    match value:
        case OverflowRule():
            return value
        case str():
            return _parsed(value)
        case (str(pattern), str(policy)):
            return OverflowRule(pattern, policy)
    raise ConfigError(f"overflow: {shown(value)} is no rule; give PATTERN=POLICY, such as '/prices/*=latest'")


def _parsed(text: str) -> OverflowRule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise ConfigError(f"overflow: {shown(text)} is no rule; give PATTERN=POLICY, such as '/prices/*=latest'")
    bounds: dict[str, Any] = {}
    for each in found["bounds"].split(",")[1:]:
        given, _, value = each.partition("=")
        name = given.lower().replace("-", "_")
        if name not in BOUNDS:
            raise ConfigError(f"overflow: {shown(given)} in {shown(text)} is no bound; give {' or '.join(BOUNDS)}")
        if name in bounds:
            raise ConfigError(f"overflow: {shown(given)} is given twice in {shown(text)}; give it once")
        bounds[name] = value
    return OverflowRule(found["pattern"], found["policy"].lower(), **bounds)


def _checked(rule: OverflowRule, checks: Mapping[str, Check]) -> OverflowRule:
    bounds = {name: checks[name](f"overflow: {rule.pattern}: {name}", value) for name, value in rule.bounds.items()}
    return dataclasses.replace(rule, **bounds)
