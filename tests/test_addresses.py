"""Addresses and topics as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubsub.addresses import ClientAddress, ListenAddress, client_address, parse_listen_address, topic_path
from pubsub.errors import ConfigError, MisuseError

# --- where a server listens ---


@pytest.mark.parametrize(
    ("text", "host", "port", "shown", "url"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", "ws://127.0.0.1:8080"),
        ("localhost:0", "localhost", 0, "localhost:0", "ws://localhost:0"),
        (":8080", "", 8080, ":8080", "ws://127.0.0.1:8080"),
        ("0.0.0.0:1", "0.0.0.0", 1, "0.0.0.0:1", "ws://127.0.0.1:1"),
        ("[::1]:8080", "::1", 8080, "[::1]:8080", "ws://[::1]:8080"),
        ("[::]:8080", "::", 8080, "[::]:8080", "ws://[::1]:8080"),
        ("[fe80::1%eth0]:8080", "fe80::1%eth0", 8080, "[fe80::1%eth0]:8080", "ws://[fe80::1%eth0]:8080"),
        (" pubsub.example:65535\n", "pubsub.example", 65535, "pubsub.example:65535", "ws://pubsub.example:65535"),
    ],
)
def test_a_server_s_address_is_host_and_port(text: str, host: str, port: int, shown: str, url: str) -> None:
    address = parse_listen_address(text)
    assert address == ListenAddress(host, port)
    assert (str(address), address.url()) == (shown, url)
    assert address.url(tls=True) == url.replace("ws://", "wss://")


@pytest.mark.parametrize(
    "text",
    ["", "8080", "localhost", "localhost:", "a:b", "a:-1", "a:65536", "::1:8080", "[::1]", "a b:1", "ws://a:1", "a:1/"],
)
def test_what_is_no_address_to_listen_on_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--addr=.* is no address to listen on; give HOST:PORT.* 127\.0\.0\.1:8080"):
        parse_listen_address(text, name="--addr")


# --- where a client connects ---


@pytest.mark.parametrize(
    ("url", "expected", "host_header"),
    [
        ("ws://a.example/x", ClientAddress(False, "a.example", 80, "/x"), "a.example"),
        ("wss://a.example", ClientAddress(True, "a.example", 443, "/"), "a.example"),
        ("WS://a.example:80", ClientAddress(False, "a.example", 80, "/"), "a.example"),
        ("wss://a.example:80/", ClientAddress(True, "a.example", 80, "/"), "a.example:80"),
        ("ws://[::1]:8080/x?y=1", ClientAddress(False, "::1", 8080, "/x?y=1"), "[::1]:8080"),
        ("ws://[::1]/x", ClientAddress(False, "::1", 80, "/x"), "[::1]"),
        ("ws://[fe80::1%eth0]:1/", ClientAddress(False, "fe80::1%eth0", 1, "/"), "[fe80::1]:1"),
        ("ws://a.example?name=b", ClientAddress(False, "a.example", 80, "/?name=b"), "a.example"),
        ("ws://bücher.example/", ClientAddress(False, "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example"),
        ("ws://a.example/é x", ClientAddress(False, "a.example", 80, "/%C3%A9%20x"), "a.example"),
        ("ws://a.example/%c3%a9?q=é'", ClientAddress(False, "a.example", 80, "/%c3%a9?q=%C3%A9%27"), "a.example"),
    ],
)
def test_a_url_stands_for_itself(url: str, expected: ClientAddress, host_header: str) -> None:
    address = client_address(url, pubsub_addr="ws://elsewhere.example/y")
    assert (address, address.host_header) == (expected, host_header)


def test_a_url_can_be_had_back() -> None:
    for url in ("ws://a.example/x?y", "wss://[::1]:8080/", "ws://127.0.0.1:8080/a%20b"):
        assert client_address(url).url == url


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        (None, "ws://127.0.0.1:8080/"),
        ("", "ws://127.0.0.1:8080/"),
        (":9000", "ws://127.0.0.1:9000/"),
        ("0.0.0.0:9000", "ws://127.0.0.1:9000/"),
        ("[::]:9000", "ws://[::1]:9000/"),
        ("pubsub.example:9000", "ws://pubsub.example:9000/"),
        ("wss://pubsub.example/topic?name=a", "wss://pubsub.example/topic?name=a"),
    ],
)
def test_without_a_url_the_variable_counts_and_the_default_last(variable: str | None, url: str) -> None:
    assert client_address(None, pubsub_addr=variable).url == url


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        (None, "ws://127.0.0.1:8080/x?name=a"),
        (":9000", "ws://127.0.0.1:9000/x?name=a"),
        ("wss://pubsub.example/topic?name=b", "wss://pubsub.example/x?name=a"),
    ],
)
def test_a_path_keeps_the_variable_s_server(variable: str | None, url: str) -> None:
    assert client_address("/x?name=a", pubsub_addr=variable).url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a.example/x", "give ws://a.example/x"),
        ("https://a.example/x", "give wss://a.example/x"),
        ("ftp://a.example/x", "give ws://HOST:PORT/TOPIC"),
        ("://a", "give ws://HOST:PORT/TOPIC"),
        ("a.example", "neither a URL nor a path"),
        ("ws://", "no host"),
        ("ws://:80/", "no host"),
        ("ws://a.example:0/", "no host and port"),
        ("ws://a.example:99999/", "no host and port"),
        ("ws://a.example:x/", "no host and port"),
        ("ws://a b/", "no host"),
        ("ws://::1/", "no host"),
        ("ws://" + "é" * 70 + "/", "no host"),
        ("ws://a.example/x#y", "%23"),
        ("ws://a.example/\ud800", "surrogate"),
        ("/x#y", "%23"),
    ],
)
def test_a_bad_url_is_the_caller_s_mistake(url: str, says: str) -> None:
    with pytest.raises(MisuseError, match=says) as caught:
        client_address(url)
    assert str(caught.value).isascii()


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(MisuseError, match="Authorization") as caught:
        client_address("ws://user:secret@a.example/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("variable", ["8080", "http://a.example", "ws://", "a b:1"])
def test_a_bad_variable_is_the_operator_s_mistake(variable: str) -> None:
    with pytest.raises(ConfigError, match="PUBSUB_ADDR"):
        client_address("/x", pubsub_addr=variable)


# --- topics ---


@pytest.mark.parametrize(
    ("topic", "path"),
    [
        ("/", "/"),
        ("/prices/é", "/prices/%C3%A9"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/%c3%a9", "/%c3%a9"),
        ("/100%", "/100%"),
        ('/"<>`{}^', "/%22%3C%3E%60%7B%7D%5E"),
        ("/!$&'()*+,-./:;=@[]_|~", "/!$&'()*+,-./:;=@[]_|~"),
        ("/\t\x7f", "/%09%7F"),
        ("/😀", "/%F0%9F%98%80"),
        ("//a/", "//a/"),
    ],
)
def test_a_topic_is_escaped_as_browsers_do_and_what_is_escaped_stays(topic: str, path: str) -> None:
    assert topic_path(topic) == path
    assert topic_path(path) == path


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("prices", "does not start with '/'; give a path such as '/prices'"),
        ("", "does not start with '/'"),
        ("/a?b", r"\? as %3F"),
        ("/a#b", "# as %23"),
        ("/\ud800", "surrogate"),
        (b"/a", "is no text"),
        (None, "is no text"),
    ],
)
def test_what_is_no_topic_is_the_caller_s_mistake(topic: str, says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        topic_path(topic)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="?#")))
def test_any_text_makes_a_topic_that_a_request_can_carry(text: str) -> None:
    path = topic_path("/" + text)
    assert path.isascii()
    assert path.isprintable()
    assert " " not in path
    assert client_address("ws://a.example/" + text).target == path
