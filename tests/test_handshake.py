"""What a request asks for, and what it gets: role, subprotocol, Origin, name."""

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubsub.errors import MisuseError
from pubsub.events import EventType
from pubsub.handshake import Admission, Refusal, Request, Role, admit
from pubsub.options import Options
from pubsub.upgrade import ServerUpgrade
from tests.support.requests import ROLE, admission, assert_says_value_limit_and_cure, judge, refusal, upgrade_head

# --- what is admitted ---


def test_an_upgrade_with_a_role_is_admitted() -> None:
    assert admission(upgrade_head(ROLE)) == Admission("/prices", Role.SUBSCRIBER, "", None)


def test_the_101_answers_the_key_and_carries_what_the_server_adds() -> None:
    upgrade = ServerUpgrade()
    request = upgrade.receive(upgrade_head(("Sec-WebSocket-Protocol", "pubsub"), ROLE))
    assert isinstance(request, Request)
    answer = upgrade.accept(subprotocol="pubsub", headers=[(b"pubsub-client-id", b"-1")])
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest == b""
    lines = head.split(b"\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert b"Sec-WebSocket-Protocol: pubsub" in lines
    assert b"pubsub-client-id: -1" in lines


def test_a_request_is_accepted_once_and_only_with_what_it_offers() -> None:
    upgrade = ServerUpgrade()
    with pytest.raises(MisuseError, match="accept once"):
        upgrade.accept()
    upgrade.receive(upgrade_head(ROLE))
    with pytest.raises(MisuseError, match="pubsub"):
        upgrade.accept(subprotocol="pubsub")
    upgrade.accept()
    with pytest.raises(MisuseError, match="accept once"):
        upgrade.accept()


@pytest.mark.parametrize(
    ("target", "topic"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a%20b", "/a%20b"),
        ("/a%2fb", "/a%2fb"),
        ("/a?x=1&y=2", "/a"),
        ("/?", "/"),
        ("//a//b", "//a//b"),
        ("http://example.com/a?x", "/a"),
        ("WSS://example.com:443/a%20b", "/a%20b"),
        ("http://example.com", "/"),
        ("http://example.com?pubsub=subscriber", "/"),
    ],
)
def test_the_topic_is_the_escaped_path(target: str, topic: str) -> None:
    assert admission(upgrade_head(ROLE, target=target)).topic == topic


@pytest.mark.parametrize("target", ["*", "example.com:80", "prices", "/a#b", "ftp://example.com/a"])
def test_a_target_that_is_no_path_is_a_bad_request(target: str) -> None:
    refused = refusal(upgrade_head(ROLE, target=target))
    assert (refused.status, refused.event, refused.topic) == (400, None, "")


# --- role ---

WORDS = {"publisher": Role.PUBLISHER, "subscriber": Role.SUBSCRIBER, "duplex": Role.DUPLEX, "check": Role.CHECK}


@pytest.mark.parametrize(("word", "role"), WORDS.items())
def test_a_role_comes_by_header_by_subprotocol_or_by_query(word: str, role: Role) -> None:
    assert admission(upgrade_head(("PubSub", word))).role is role
    assert admission(upgrade_head(target=f"/a?x=1&pubsub={word}")).role is role
    by_subprotocol = admission(upgrade_head(("Sec-WebSocket-Protocol", f"pubsub.{word}")))
    assert (by_subprotocol.role, by_subprotocol.subprotocol) == (role, f"pubsub.{word}")


def test_duplex_is_publisher_and_subscriber_at_once() -> None:
    assert Role.DUPLEX == Role.PUBLISHER | Role.SUBSCRIBER
    assert not Role.CHECK


def test_all_roles_given_must_agree() -> None:
    protocol = ("Sec-WebSocket-Protocol", "pubsub.subscriber")
    assert admission(upgrade_head(ROLE, ROLE, protocol, target="/?pubsub=subscriber")).role is Role.SUBSCRIBER
    for head in (
        upgrade_head(ROLE, ("pubsub", "publisher")),
        upgrade_head(protocol, target="/?pubsub=publisher"),
        upgrade_head(ROLE, target="/?pubsub=duplex"),
        upgrade_head(target="/?pubsub=publisher&pubsub=subscriber"),
    ):
        refused = refusal(head)
        assert (refused.status, refused.event) == (400, EventType.BAD_HTTP_HEADERS)
        assert "disagree" in refused.body


def test_of_several_role_subprotocols_the_first_counts() -> None:
    name = "Sec-WebSocket-Protocol"
    admitted = admission(upgrade_head((name, "chat, pubsub.duplex"), (name, "pubsub.publisher")))
    assert (admitted.role, admitted.subprotocol) == (Role.DUPLEX, "pubsub.duplex")


@pytest.mark.parametrize("value", ["", "Publisher", "reader", "publisher, publisher", "x" * 5000])
def test_an_unknown_role_is_refused_with_its_value(value: str) -> None:
    refused = refusal(upgrade_head(("pubsub", value)))
    assert (refused.status, refused.event, refused.topic) == (400, EventType.BAD_HTTP_HEADERS, "/prices")
    assert "is unknown" in refused.body
    assert len(refused.body) < 250


def test_a_role_in_the_query_may_be_percent_encoded_and_nonsense_there_is_refused() -> None:
    assert admission(upgrade_head(target="/?%70ubsub=%70ublisher")).role is Role.PUBLISHER
    assert "is unknown" in refusal(upgrade_head(target="/?pubsub=%ff%0d%0a")).body


def test_no_role_is_refused_and_told_to_the_events() -> None:
    refused = refusal(upgrade_head(target="/a?pubsubs=publisher"))
    assert (refused.status, refused.event, refused.topic) == (400, EventType.BAD_HTTP_HEADERS, "/a")


# --- subprotocol ---


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("chat, pubsub.subscriber, pubsub", "pubsub.subscriber"),
        ("chat, pubsub", "pubsub"),
        (" pubsub ,, ", "pubsub"),
        ("", None),
    ],
)
def test_a_client_that_offers_subprotocols_gets_its_role_s_or_else_pubsub(offered: str, chosen: str | None) -> None:
    assert admission(upgrade_head(ROLE, ("Sec-WebSocket-Protocol", offered))).subprotocol == chosen


def test_only_unknown_subprotocols_are_refused() -> None:
    refused = refusal(upgrade_head(ROLE, ("Sec-WebSocket-Protocol", "chat, mqtt")))
    assert (refused.status, refused.event) == (400, EventType.WEBSOCKET_UPGRADE_FAILED)
    assert "'chat, mqtt'" in refused.body
    assert "pubsub.subscriber" in refused.body


# --- Origin ---

HOSTS: Sequence[tuple[str, str, bool]] = [
    ("http://example.com", "example.com", True),
    ("https://example.com", "example.com", True),
    ("http://EXAMPLE.com", "example.COM", True),
    ("http://example.com:80", "example.com", True),
    ("http://example.com", "example.com:80", True),
    ("https://example.com", "example.com:443", True),
    ("https://example.com", "example.com:80", False),
    ("http://example.com:8080", "example.com:8080", True),
    ("http://example.com:8081", "example.com:8080", False),
    ("http://example.com", "example.com:8080", False),
    ("http://[::1]:8080", "[::1]:8080", True),
    ("http://[::1]", "[::1]", True),
    ("http://[::1]:8080", "[::1]", False),
    ("http://evil.example", "example.com", False),
    ("http://example.com.evil.example", "example.com", False),
    ("null", "example.com", False),
    ("example.com", "example.com", False),
    ("", "example.com", False),
    ("file://", "example.com", False),
]


@pytest.mark.parametrize(("origin", "host", "same"), HOSTS)
def test_a_page_of_the_same_host_may_connect_and_others_may_not(origin: str, host: str, same: bool) -> None:
    head = upgrade_head(ROLE, ("Host", host), ("Origin", origin), without=("Host",))
    if same:
        assert admission(head)
    else:
        refused = refusal(head)
        assert (refused.status, refused.event, refused.topic) == (403, EventType.WEBSOCKET_UPGRADE_FAILED, "/prices")


@pytest.mark.parametrize(
    ("allowed", "origin", "may"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://A.example", True),
        ("https://a.example/", "https://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://aXexample", False),
        ("https://*.a.example", "https://www.a.example", True),
        ("https://*.a.example", "https://a.example", False),
        ("https://*.a.example", "https://x.y.a.example", False),
        ("https://**.a.example", "https://x.y.a.example", True),
        ("https://*.a.example", "https://evil.test/.a.example", False),
        ("https://**.a.example", "https://evil.test/.a.example", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", False),
        ("*", "https://anything.example", True),
        ("*", "null", True),
        ("null", "null", True),
        ("https://b.example https://a.example", "https://a.example", True),
    ],
)
def test_allow_origins_lets_pages_of_other_hosts_connect(allowed: str, origin: str, may: bool) -> None:
    options = Options(allow_origins=tuple(allowed.split()))
    outcome = judge(upgrade_head(ROLE, ("Origin", origin)), options)
    assert isinstance(outcome, Admission) is may


def test_of_several_origins_each_must_be_allowed() -> None:
    options = Options(allow_origins=("https://a.example",))
    head = upgrade_head(ROLE, ("Origin", "https://a.example"), ("Origin", "https://evil.example"))
    assert refusal(head, options).status == 403


def test_the_host_of_a_whole_url_replaces_the_host_header() -> None:
    head = upgrade_head(ROLE, ("Origin", "http://a.example"), target="http://a.example/prices")
    assert admission(head).topic == "/prices"
    head = upgrade_head(ROLE, ("Origin", "http://example.com:8080"), target="http://a.example/prices")
    assert refusal(head).status == 403


@pytest.mark.parametrize(
    ("allowed", "host", "may"),
    [
        ("", "anything.example", True),
        ("a.example", "a.example", True),
        ("a.example", "A.Example:8080", True),
        ("a.example", "a.example.", True),
        ("a.example", "a.example.:8080", True),
        ("a.example", "b.example", False),
        ("a.example", "xa.example", False),
        ("a.example", "a.example.evil.test", False),
        ("*.a.example", "b.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "c.b.a.example", False),
        ("**.a.example", "c.b.a.example", True),
        ("b.example a.example", "a.example", True),
        ("*", "anything.example", True),
        ("a.example", "127.0.0.1:8080", True),
        ("a.example", "192.0.2.7", True),
        ("a.example", "[2001:db8::1]:8080", True),
        ("a.example", "localhost:8080", True),
        ("a.example", "app.localhost", False),
        ("*.localhost", "app.localhost", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("a.example", "xn--aexample-om3g", False),  # which is a.example in another script's dots, decoded and encoded
        ("**.example", "a" * 245 + ".example", True),
        ("**.example", "a" * 246 + ".example", False),
        ("a.example", "localhost.evil.test", False),
        ("a.example", "notlocalhost", False),
        ("a.example", "127.0.0.1.evil.test", False),
    ],
)
def test_allow_hosts_are_the_names_that_a_server_answers_for(allowed: str, host: str, may: bool) -> None:
    options = Options(allow_hosts=tuple(allowed.split()))
    head = upgrade_head(ROLE, ("Host", host), ("Origin", f"http://{host}"), without=("Host",))
    if may:
        assert isinstance(judge(head, options), Admission)
    else:
        refused = refusal(head, options)
        assert (refused.status, refused.event) == (421, EventType.WEBSOCKET_UPGRADE_FAILED)
        assert host.lower()[:20] in refused.body.lower() and "--allow-hosts" in refused.body


def test_a_long_host_or_origin_is_not_looked_at_for_long() -> None:
    options = Options(allow_hosts=("**.**.**.a.example",), allow_origins=("https://**.**.**.a.example",))
    began = time.process_time()
    assert refusal(upgrade_head(ROLE, target=f"http://{'.' * 15_000}x/prices"), options).status == 421
    head = upgrade_head(ROLE, ("Origin", f"https://{'.' * 15_000}x"))
    assert refusal(head, options.replace(allow_hosts=())).status == 403
    assert time.process_time() - began < 1.0  # minutes


def test_allow_hosts_are_for_who_sends_no_origin_too_and_for_whole_urls() -> None:
    options = Options(allow_hosts=("a.example",))
    assert refusal(upgrade_head(ROLE), options).status == 421
    assert isinstance(judge(upgrade_head(ROLE, target="http://a.example/prices"), options), Admission)
    assert refusal(upgrade_head(ROLE, target="http://b.example/prices"), options).status == 421


@pytest.mark.parametrize("host", ["xn--bcher-kva.example", "XN--bcher-kva..example", "xn--aexample-om3g"])
def test_a_host_in_another_script_is_compared_as_browsers_send_it(host: str) -> None:
    # The last two can be decoded, and encoded again not at all, or to something else.
    assert admission(upgrade_head(ROLE, ("Host", host), ("Origin", f"https://{host}"), without=("Host",)))


# --- name ---


@pytest.mark.parametrize("name", ["a", "A.b_c~d-9", "x" * 64])
def test_a_name_comes_by_header_or_by_query(name: str) -> None:
    assert admission(upgrade_head(ROLE, ("pubsub-client-name", name))).name == name
    assert admission(upgrade_head(ROLE, target=f"/?name={name}")).name == name
    assert admission(upgrade_head(ROLE, ("Pubsub-Client-Name", name), target=f"/?name={name}")).name == name


def test_an_empty_name_is_none() -> None:
    assert admission(upgrade_head(ROLE, ("pubsub-client-name", ""))).name == ""
    assert admission(upgrade_head(ROLE, ("pubsub-client-name", ""), target="/?name=a")).name == "a"


@pytest.mark.parametrize("name", ["a b", "a/b", "x" * 65, "a,b"])
def test_a_bad_name_is_refused(name: str) -> None:
    refused = refusal(upgrade_head(ROLE, ("pubsub-client-name", name)))
    assert (refused.status, refused.event) == (400, EventType.BAD_HTTP_HEADERS)
    assert "64" in refused.body


def test_names_that_disagree_are_refused() -> None:
    assert "disagree" in refusal(upgrade_head(ROLE, ("pubsub-client-name", "a"), target="/?name=b")).body


def test_origin_is_judged_before_the_name() -> None:
    assert refusal(upgrade_head(ROLE, ("Origin", "http://evil.example"), ("pubsub-client-name", "a b"))).status == 403


# --- what a refusal repeats ---


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_what_a_refusal_repeats_of_a_request_is_one_ascii_line(role: str, name: str, origin: str) -> None:
    headers = [(b"pubsub", role), (b"pubsub-client-name", name), (b"origin", origin)]
    request = Request("/a", "h", [(key, value.encode()) for key, value in headers])
    outcome = admit(request, Options())
    if isinstance(outcome, Refusal):
        assert_says_value_limit_and_cure(outcome)
        assert re.fullmatch(r"[ -~]+", outcome.body)
