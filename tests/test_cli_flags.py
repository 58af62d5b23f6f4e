"""The flags of `serve`: one for every option, and errors that name the flag."""

from dataclasses import fields

import click
import pytest

from pubsub import ConfigError, Options
from pubsub.cli.command import fastpubsub
from pubsub.cli.flags import options_from_flags


def serve_flags() -> dict[str, click.Option]:
    serve = fastpubsub.commands["serve"]
    return {each.name or "": each for each in serve.params if isinstance(each, click.Option)}


@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_every_option_has_a_flag_with_words_and_its_default(name: str) -> None:
    flag = serve_flags()[name]
    assert f"--{name.replace('_', '-')}" in flag.opts
    assert flag.help is not None and "[default: " in flag.help


def test_defaults_are_shown_as_they_are_typed() -> None:
    shown = {name: flag.help or "" for name, flag in serve_flags().items()}
    assert "[default: 20s]" in shown["ping_interval"]
    assert "[default: 64MiB]" in shown["max_lag_bytes"]
    assert "[default: 1024]" in shown["event_buffer"]
    assert "[default: off]" in shown["max_lag_age"]
    assert "[default: the server's own]" in shown["allow_origins"]
    assert "[default: any]" in shown["allow_hosts"]
    assert "[default: disconnect, everywhere]" in shown["overflow"]


def test_what_is_not_given_keeps_its_default_and_what_is_given_is_read() -> None:
    flags = {"ping_interval": "500ms", "max_message_bytes": "1MiB", "max_lag_age": None, "allow_origins": ()}
    assert options_from_flags(flags) == Options(ping_interval=0.5, max_message_bytes=1 << 20)


def test_origins_may_be_given_several_times() -> None:
    assert options_from_flags({"allow_origins": ("null", "https://a.example")}).allow_origins == (
        "null",
        "https://a.example",
    )


def test_rules_of_overflow_may_be_given_several_times_and_keep_their_order() -> None:
    options = options_from_flags({"overflow": ("/prices/*=latest", "/**=skip,max-lag-messages=100")})
    assert [str(rule) for rule in options.overflow] == ["/prices/*=latest", "/**=skip,max_lag_messages=100"]


def test_an_error_in_a_rule_names_the_flag_and_leaves_the_rule_as_it_was_typed() -> None:
    with pytest.raises(ConfigError, match=r"^--overflow: 'overflow' in '/a=skip,overflow=1' is no bound; give max_"):
        options_from_flags({"overflow": ("/a=skip,overflow=1",)})


@pytest.mark.parametrize(
    ("text", "complaint"), [("two", "'two' is no whole number"), ("-1", "-1 is below 0"), ("17", "17 is over 16")]
)
def test_what_is_no_number_of_threads_is_told_which_are(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_from_flags({"io_threads": text})
    number = "one" if text == "two" else "a number"
    assert str(caught.value) == f"--io-threads={complaint}; give {number} from 0 to 16"


@pytest.mark.parametrize(
    ("name", "value"), [("ping_interval", "soon"), ("ping_interval", "0"), ("max_lag_bytes", "64XB")]
)
def test_an_error_names_the_flag_and_not_the_field(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}"):
        options_from_flags({name: value})
