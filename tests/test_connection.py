"""The protocol after the handshake, both ways, without a socket."""

import array
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubsub.connection import Closed, Connection, Happening, Piece, Ping, Pong
from pubsub.errors import MisuseError
from tests.support.requests import cut, cuts


def server() -> Connection:
    return Connection(client=False)


def client() -> Connection:
    return Connection(client=True)


def frame(first: int, payload: bytes, *, masked: bool = True, length: bytes | None = None) -> bytes:
    """A client's frame by hand, with a mask of zeros: what no sane client sends, too."""
    size = length if length is not None else bytes([len(payload)])
    header = bytes([first, size[0] | (0x80 if masked else 0)]) + size[1:]
    return header + (bytes(4) if masked else b"") + payload


def put_together(happenings: list[Happening]) -> list[object]:
    """Messages whole, the rest as it is: what does not depend on how the bytes were cut."""
    whole: list[object] = []
    parts: list[bytes | str] = []
    for happening in happenings:
        if not isinstance(happening, Piece):
            # Pieces arrive as they come, so a control frame between two fragments may be cut from them anywhere.
            whole.append(happening)
            continue
        parts.append(happening.data)
        if happening.last:
            whole.append("".join(map(str, parts)) if isinstance(parts[0], str) else b"".join(map(bytes, parts)))  # type: ignore[arg-type]
            parts = []
    return whole


def receive_cut(connection: Connection, data: bytes, sizes: list[int]) -> list[object]:
    return put_together([happening for piece in cut(data, sizes) for happening in connection.receive(piece)])


messages = st.one_of(st.binary(max_size=300), st.text(max_size=100))


@given(st.lists(messages, max_size=6), st.binary(max_size=125), cuts(), st.booleans())
def test_messages_arrive_whole_however_they_are_cut(
    sent: list[bytes | str], payload: bytes, sizes: list[int], to_server: bool
) -> None:
    sender, receiver = (client(), server()) if to_server else (server(), client())
    wire = b"".join(sender.message(each) for each in sent) + sender.ping(payload) + sender.close(1001, "bye")
    expected = [*sent, Ping(payload), Closed(1001, "bye", error=False)]
    assert receive_cut(receiver, wire, sizes) == expected


@given(st.binary(max_size=200), cuts())
def test_nonsense_never_raises_and_means_the_same_however_it_is_cut(data: bytes, sizes: list[int]) -> None:
    assert receive_cut(server(), data, sizes) == put_together(server().receive(data))


@given(st.lists(messages, min_size=1, max_size=4), st.data(), cuts())
def test_damaged_frames_never_raise_and_mean_the_same_however_they_are_cut(
    sent: list[bytes | str], data: st.DataObject, sizes: list[int]
) -> None:
    wire = bytearray(b"".join(client().message(each) for each in sent))
    for _ in range(3):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    assert receive_cut(server(), bytes(wire), sizes) == put_together(server().receive(bytes(wire)))


def test_a_message_in_fragments_ends_with_its_last_one() -> None:
    sender = client()
    wire = sender.message(b"one", last=False) + sender.ping(b"?") + sender.message(b"two", last=False)
    assert server().receive(wire + sender.message(b"")) == [
        Piece(b"one", last=False),
        Ping(b"?"),
        Piece(b"two", last=False),
        Piece(b"", last=True),
    ]


def test_a_large_frame_comes_in_pieces_and_only_the_last_ends_the_message() -> None:
    wire = client().message(b"x" * 100_000)
    receiver = server()
    pieces = [piece for at in range(0, len(wire), 30_000) for piece in receiver.receive(wire[at : at + 30_000])]
    assert [piece.last for piece in pieces] == [False, False, False, True]  # type: ignore[union-attr]
    assert put_together(pieces) == [b"x" * 100_000]


def test_the_last_piece_of_a_frame_that_is_not_final_does_not_end_the_message() -> None:
    wire = client().message(b"x" * 200, last=False)
    receiver = server()
    assert [piece.last for piece in receiver.receive(wire[:100]) + receiver.receive(wire[100:])] == [False, False]  # type: ignore[union-attr]


def test_text_cut_inside_a_character_arrives_whole() -> None:
    wire = client().message("aé€😀")
    assert receive_cut(server(), wire, [1]) == ["aé€😀"]


def test_anything_with_bytes_may_be_sent() -> None:
    numbers = array.array("I", [1, 2])
    for data in (b"\x01\x02", bytearray(b"\x01\x02"), memoryview(b"0\x01\x022")[1:3]):
        assert server().receive(client().message(data)) == [Piece(b"\x01\x02", last=True)]
    assert server().receive(client().message(numbers)) == [Piece(numbers.tobytes(), last=True)]


@pytest.mark.parametrize("data", [7, None, ["a"]])
def test_what_has_no_bytes_cannot_be_sent(data: object) -> None:
    with pytest.raises(MisuseError, match="give bytes or str"):
        client().message(data)  # type: ignore[arg-type]


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    sender = client()
    with pytest.raises(MisuseError, match="surrogate"):
        sender.message("\ud800")
    assert server().receive(sender.message("after")) == [Piece("after", last=True)]


def test_a_message_cannot_change_its_type_in_the_middle() -> None:
    sender = client()
    sender.message(b"one", last=False)
    with pytest.raises(MisuseError, match="mismatch"):
        sender.message("two")


# --- what a peer must not send (RFC 6455 section 7.4.1 names the codes) ---


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(frame(0x82, b"x", masked=False), 1002, id="unmasked"),
        pytest.param(frame(0xC2, b"x"), 1002, id="reserved bit"),
        pytest.param(frame(0x83, b"x"), 1002, id="opcode 3"),
        pytest.param(frame(0x8B, b"x"), 1002, id="opcode 11"),
        pytest.param(frame(0x80, b"x"), 1002, id="continuation of nothing"),
        pytest.param(frame(0x02, b"x") + frame(0x82, b"x"), 1002, id="message inside a message"),
        pytest.param(frame(0x09, b""), 1002, id="ping in fragments"),
        pytest.param(frame(0x89, b"x" * 126, length=struct.pack("!BH", 126, 126)), 1002, id="ping too long"),
        pytest.param(frame(0x82, b"x", length=struct.pack("!BH", 126, 1)), 1002, id="length longer than need be"),
        pytest.param(frame(0x82, b"", length=struct.pack("!BQ", 127, 1 << 63)), 1002, id="length of 64 bits"),
        pytest.param(frame(0x81, b"\xff"), 1007, id="text that is not UTF-8"),
        pytest.param(frame(0x81, b"\xe2\x82"), 1007, id="text that ends inside a character"),
        pytest.param(frame(0x81, b"\xed\xa0\x80"), 1007, id="surrogate as UTF-8"),
        pytest.param(frame(0x88, b"\x03"), 1002, id="close of one byte"),
        pytest.param(frame(0x88, struct.pack("!H", 999)), 1002, id="close 999"),
        pytest.param(frame(0x88, struct.pack("!H", 1005)), 1002, id="close 1005"),
        pytest.param(frame(0x88, struct.pack("!H", 2999)), 1002, id="close 2999"),
        pytest.param(frame(0x88, struct.pack("!H", 5000)), 1002, id="close 5000"),
        pytest.param(frame(0x88, struct.pack("!H", 1000) + b"\xff"), 1007, id="close with a bad reason"),
    ],
)
def test_a_breach_of_the_protocol_says_which_code_to_close_with(wire: bytes, code: int) -> None:
    receiver = server()
    *_, closed = receiver.receive(wire)
    assert isinstance(closed, Closed)
    assert (closed.code, closed.error) == (code, True)
    assert not receiver.close_received
    answer = client().receive(receiver.close(closed.code, closed.reason))
    assert [type(each) for each in answer] == [Closed]
    assert answer[0].code == code  # type: ignore[union-attr]


def test_a_client_does_not_take_masked_frames() -> None:
    assert client().receive(frame(0x82, b"x"))[0].error  # type: ignore[union-attr]


def test_what_follows_a_breach_is_dropped() -> None:
    receiver = server()
    assert len(receiver.receive(frame(0x83, b"") + client().message(b"late"))) == 1
    assert receiver.receive(client().message(b"late")) == []


# --- closing ---


def test_a_close_is_answered_and_what_follows_it_is_dropped() -> None:
    one, other = client(), server()
    assert other.receive(one.close(1001, "away") + one.ping(b"never sent") + b"\x00") == [Closed(1001, "away", False)]
    assert (other.close_sent, other.close_received) == (False, True)
    assert one.receive(other.close(1001)) == [Closed(1001, "", False)]
    assert (one.close_sent, one.close_received, other.close_sent) == (True, True, True)
    assert other.receive(b"anything") == one.receive(b"anything") == []


def test_a_close_without_a_code_is_1005_and_may_be_answered_with_one() -> None:
    one, other = client(), server()
    assert other.receive(frame(0x88, b"")) == [Closed(1005, "", False)]
    answer = other.close(1005)
    assert answer == b"\x88\x00"
    assert one.receive(answer) == [Closed(1005, "", False)]


def test_after_our_close_the_peer_s_frames_still_arrive_until_its_own() -> None:
    one, other = client(), server()
    other.close(1012)
    wire = one.message(b"was on its way") + one.pong(b"") + one.close()
    assert other.receive(wire) == [Piece(b"was on its way", last=True), Pong(b""), Closed(1000, "", False)]
    assert (other.close_sent, other.close_received) == (True, True)


def test_a_breach_after_our_close_is_told_apart_from_the_peer_s_close() -> None:
    other = server()
    other.close(1012)
    assert other.receive(frame(0x83, b""))[0].error  # type: ignore[union-attr]
    assert other.close(1002) == b""


def test_nothing_but_a_close_is_sent_once_a_close_went_either_way() -> None:
    ours, theirs = client(), client()
    ours.close()
    theirs.receive(server().close())
    for connection in (ours, theirs):
        assert connection.ping(b"x") == connection.pong(b"x") == b""
        with pytest.raises(MisuseError, match="connect again"):
            connection.message(b"x")
    assert ours.close() == b""
    assert theirs.close() != b""


def test_a_reason_is_cut_to_what_fits_between_characters() -> None:
    [closed] = client().receive(server().close(1008, "é" * 100))
    assert closed == Closed(1008, "é" * 61, False)


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2000, 2999, 5000, 70_000])
def test_a_code_that_may_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(MisuseError, match=f"close code {code}"):
        client().close(code)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 3000, 4999])
def test_a_code_that_may_be_sent_is_sent(code: int) -> None:
    assert server().receive(client().close(code)) == [Closed(code, "", False)]


def test_a_control_frame_carries_125_bytes_and_no_more() -> None:
    assert server().receive(client().ping(b"x" * 125)) == [Ping(b"x" * 125)]
    with pytest.raises(MisuseError, match="over 125"):
        client().pong(b"x" * 126)
