"""What README and docs show works: their programs run, their bytes are the wire's, their commands exist, links lead.

A code block says how it is checked by the word after its language, which readers do not see:

    python               a program that runs to its end, with a server there
    python publishes     the same, and a subscriber of its topic gets something
    python subscribes    a program without end: what is published to its topic, it prints
    python serves        a server without end: who subscribes gets the time of day
    python relays        a server without end: who subscribes gets what others publish
    python embeds        the same as `serves`, with the module of the cython block before it
    python hub           pieces of one program, in the order of their page, that runs to its end
    python hub-alone     the same, in one piece
    python with server   a piece of a coroutine, with a server of this process in the name `server`
    cython               a module that is compiled against fastfan; its first line is its file's name
    sh                   commands that exist, with flags that exist
    http, javascript, and text with bytes: see the tests
"""

import ast
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import click
import pytest
import websockets

import fastfan
import pubsub
from pubsub.cli.command import fastpubsub
from pubsub.sync import Publisher, Subscriber
from tests.support.embedding import compile_module
from tests.support.pages import BLOCKS, PAGES, ROOT, Block, blocks, prose, spans
from tests.support.processes import PATIENCE_SECONDS, Program, RunningServer, running_server

# --- programs -------------------------------------------------------------------------------------------------------


def topic_of(block: Block) -> str:
    """The topic that a program names in its URL; any, for a server that takes all."""
    found = re.search(r"ws://127\.0\.0\.1:8080(/\w+)", block.text)
    return found[1] if found else "/docs"


def start(stack: ExitStack, block: Block, address: str, folder: Path) -> Program:
    """The program of a block, with `address` in place of the docs' own."""
    file = folder / "example.py"
    port = address.rpartition(":")[2]
    file.write_text(block.text.replace("127.0.0.1:8080", address).replace("8080", port))
    # What they print is looked at while they run, as in a terminal.
    return stack.enter_context(Program(str(file), environment={"PYTHONUNBUFFERED": "1"}))


def run_to_its_end(block: Block, server: RunningServer, folder: Path) -> None:
    with ExitStack() as stack:
        finished = start(stack, block, server.address, folder).finish()
        assert (finished.code, finished.stderr) == (0, "")


@pytest.mark.parametrize("block", blocks("python", ""), ids=str)
def test_a_program_runs_to_its_end(block: Block, tmp_path: Path) -> None:
    with running_server() as server:
        run_to_its_end(block, server, tmp_path)


def test_the_pieces_of_a_web_application_run_together(tmp_path: Path) -> None:
    file = tmp_path / "application.py"
    for how in ("hub", "hub-alone"):
        file.write_text("\n".join(block.text for block in blocks("python", how)))
        with Program(str(file)) as program:
            finished = program.finish()
        assert (finished.code, finished.stderr) == (0, "")


@pytest.mark.parametrize("block", blocks("python", "publishes"), ids=str)
def test_what_a_program_publishes_arrives(block: Block, tmp_path: Path) -> None:
    with running_server() as server, Subscriber(server.url + topic_of(block), text=True) as subscriber:
        run_to_its_end(block, server, tmp_path)
        assert next(subscriber)


@pytest.mark.parametrize("block", blocks("python", "subscribes"), ids=str)
def test_a_program_prints_what_is_published_to_its_topic(block: Block, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        program = start(stack, block, server.address, tmp_path)
        server.program.wait_line(f'"type":{pubsub.EventType.SUBSCRIBER_JOINED:d}')
        with Publisher(server.url + topic_of(block)) as publisher:
            publisher.publish(b"from the test" if "text=True" not in block.text else "from the test")
        program.wait_line("from the test")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def subscriber_of(stack: ExitStack, url: str) -> Subscriber[bytes | str]:
    """A subscriber, as soon as there is a server."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return stack.enter_context(Subscriber(url, text=True))
        except pubsub.ConnectFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


NO_ASCII = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
NO_ASCII += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: \xe9\r\n\r\n"


def sent_away(address: str, request: bytes) -> None:
    """Asks, and returns when the connection has ended."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as peer:
        peer.sendall(request)
        while peer.recv(4096):
            pass


@pytest.mark.parametrize("block", [*blocks("python", "serves"), *blocks("python", "relays")], ids=str)
def test_a_server_of_the_docs_serves(block: Block, tmp_path: Path) -> None:
    with ExitStack() as stack:
        address = f"127.0.0.1:{free_port()}"
        start(stack, block, address, tmp_path)
        subscriber_of(stack, f"ws://{address}/clock").close()
        for bad in (NO_ASCII.encode("latin-1"), b"\x16\x03\x01 no HTTP\r\n\r\n"):
            sent_away(address, bad)
        subscriber = subscriber_of(stack, f"ws://{address}/clock")
        if block.how == "serves":
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(next(subscriber)))
            return
        with Publisher(f"ws://{address}/clock") as publisher:
            for message in (b"bytes", "text", b"x" * 100_000):
                publisher.publish(message)
                assert next(subscriber) == message


def test_a_cython_module_of_the_docs_publishes_in_the_program_of_the_docs(tmp_path: Path) -> None:
    [module], [program] = blocks("cython"), blocks("python", "embeds")
    source = tmp_path / module.text.splitlines()[0].removeprefix("# ")
    source.write_text(module.text)
    compile_module(source, search=str(Path(fastfan.__file__).parents[1]))
    with ExitStack() as stack:
        address = f"127.0.0.1:{free_port()}"
        start(stack, program, address, tmp_path)
        assert re.fullmatch(r"\d\d:\d\d:\d\d", str(next(subscriber_of(stack, f"ws://{address}/clock"))))


@pytest.mark.parametrize("block", blocks("python", "with server"), ids=str)
async def test_a_piece_of_a_coroutine_runs(block: Block) -> None:
    code = compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with pubsub.serve(port=0) as server:
        await eval(code, {"server": server})


def test_every_python_block_is_checked() -> None:
    known = {"", "publishes", "subscribes", "serves", "relays", "embeds", "hub", "hub-alone", "with server"}
    assert {block.how for block in blocks("python")} <= known


# --- bytes ----------------------------------------------------------------------------------------------------------


def upgraded(stack: ExitStack, server: RunningServer, request: str) -> tuple[socket.socket, str]:
    """A socket after `request`, and the head of the answer."""
    host, port = server.address.split(":")
    peer = stack.enter_context(socket.create_connection((host, int(port)), PATIENCE_SECONDS))
    peer.sendall(request.replace("\n", "\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    return peer, head.decode().replace("\r\n", "\n")


def test_the_handshake_of_the_docs_is_answered_as_they_say() -> None:
    request, expected = (block.text for block in blocks("http"))
    with ExitStack() as stack:
        _, answer = upgraded(stack, stack.enter_context(running_server()), request)
    own = r"(pubsub-epoch: |pubsub-client-id: bob-)\S+"  # these two differ from server to server
    assert re.sub(own, r"\1", answer) == re.sub(own, r"\1", expected)


def test_the_frames_of_the_docs_go_over_the_wire_as_they_say() -> None:
    (request, _), lines = (block.text for block in blocks("http")), []
    for block in blocks("text"):
        lines += re.findall(r"^(publisher|subscriber|server): +((?:[0-9a-f]{2} )*[0-9a-f]{2})\b", block.text, re.M)
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        subscriber, _ = upgraded(stack, server, request)
        publisher, _ = upgraded(stack, server, request.replace("pubsub: subscriber", "pubsub: publisher"))
        for who, digits in lines:
            if who == "publisher":
                publisher.sendall(bytes.fromhex(digits))
            else:
                receiver = subscriber if who == "subscriber" else publisher
                expected = bytes.fromhex(digits)
                assert receiver.recv(len(expected), socket.MSG_WAITALL).hex(" ") == expected.hex(" ")
    assert len(lines) > 4


@pytest.mark.parametrize("block", blocks("javascript"), ids=str)
async def test_a_browser_would_get_what_the_page_shows(block: Block) -> None:
    found = re.search(r'new WebSocket\("([^"]+)", "([^"]+)"\)', block.text)
    assert found
    async with pubsub.serve(port=0) as server:
        url = re.sub(r"ws://127\.0\.0\.1:80[08]0", server.url, found[1])
        origin = websockets.Origin(server.url.replace("ws", "http", 1))
        protocol = websockets.Subprotocol(found[2])
        async with websockets.connect(url, origin=origin, subprotocols=[protocol]) as peer:
            if found[2] == "pubsub.subscriber":
                server.publish(url.removeprefix(server.url), "hello")
            else:
                await peer.send("hello")
            assert (await peer.recv(), peer.subprotocol) == ("hello", found[2])


# --- commands -------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where it stands, and the words, of every command in a block or between backticks."""
    for block in BLOCKS:
        for number, line in enumerate(block.text.split("\n"), block.line + 1):
            if block.language == "sh":
                yield from ((f"{block.page}:{number}", words) for words in pipeline(line))
    for page in PAGES:
        for span in spans(page):
            if re.match(r"(fastpubsub|make|python) ", span):
                yield from ((f"{page.name}: {span}", words) for words in pipeline(span))


def pipeline(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, without the variables set for them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "|"]:
        if word not in ("|", "&&", ">"):
            words.append(word)
            continue
        while words and (assigned := re.match(r"([A-Z_]+)=", words[0])):
            assert assigned[1] == "PUBSUB_ADDR"
            words.pop(0)
        if words:
            yield words
        words = []


def check_fastpubsub(arguments: list[str]) -> None:
    command: click.Command = fastpubsub
    if arguments and not arguments[0].startswith("-"):
        command = fastpubsub.commands[arguments.pop(0)]
    # click makes a command's help flag once: with other names than the group's it would stay so for all tests.
    context = click.Context(command, help_option_names=["-h", "--help"])
    command.make_parser(context).parse_args(arguments)


def check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for argument in arguments:
        assert argument in targets or argument.startswith("ARGS=")
    if "bench" in arguments and arguments[1:]:
        name = arguments[1].removeprefix("ARGS=").split()[0].replace("-", "_")
        assert (ROOT / "benchmarks" / "workloads" / f"{name}.py").exists()


def check_python(arguments: list[str]) -> None:
    module = arguments[1].replace(".", "/") if arguments[0] == "-m" else ""
    assert (ROOT / arguments[0]).exists() or module == "http/server" or (ROOT / f"{module}.py").exists()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "fastpubsub": check_fastpubsub,
    "make": check_make,
    "python": check_python,
}
OTHERS = {"docker", "jq", "pip", "sysctl", "tail", "ulimit", "uvicorn"}


@pytest.mark.parametrize(("place", "words"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_a_command_of_the_docs_exists_with_its_flags(place: str, words: list[str]) -> None:
    name, *arguments = words
    assert name in CHECKS or name in OTHERS, place
    if name in CHECKS:
        CHECKS[name](arguments)


# --- links and form -------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What a link to a heading says behind its #."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page.name for page in PAGES if page.name != "index.md" and f"{page.name})" not in index] == []


def test_the_picture_is_the_same_in_both_places() -> None:
    pictures = [block.text for block in blocks("text") if "publisher's socket" in block.text]
    assert len(pictures) == 2
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short_and_nothing_is_left_open(page: Path) -> None:
    # A table cannot be broken; those of figures are written by a program.
    lines = [line for line in page.read_text().split("\n") if not line.startswith("| ")]
    assert [line for line in lines if len(line) > 120 or line != line.rstrip()] == []
    assert not re.search(r"TODO|TBD|FIXME|XXX|FIGURE:", page.read_text())
