"""A picture of a command in a terminal: `python -m tools.terminal_picture PICTURE.png COMMAND [ARGUMENT...]`.

Runs it in a pseudo-terminal of 120 columns, keeps what is on the screen at the end, and has Chromium draw it. For the
pictures of the docs; needs chromium and chromium-driver, and selenium from the extra `test`.
"""

import html
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.browser import headless_chromium

COLUMNS: Final = 120
STYLES: Final = {"1": "bold", "31": "red", "33": "yellow", "32": "green"}
PAGE: Final = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1e1e2e; }}
pre {{ display: inline-block; margin: 0; padding: 18px 22px; }}
pre {{ color: #d9e0ee; font: 14px/1.45 "DejaVu Sans Mono", monospace; }}
.prompt {{ color: #89dceb; }} .bold {{ font-weight: bold; color: #fff; }} .red {{ color: #f38ba8; }}
.yellow {{ color: #f9e2af; }} .green {{ color: #a6e3a1; }}
</style><pre id="screen"><span class="prompt">$ {command}</span>
{screen}</pre>"""


def run(command: list[str]) -> str:
    """All that it wrote to its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        os.execvp(command[0], command)
    written = b""
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed: Linux says EIO
            data = b""
        if not data:
            break
        written += data
    os.waitpid(pid, 0)
    return written.decode()


def visible(text: str) -> str:
    """What is left on the screen: of a line that was drawn over, the last drawing."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(re.split(r"\r\x1b\[K|\r", line)[-1] for line in lines).rstrip()


def to_html(text: str) -> str:
    parts = []
    for piece in re.split(r"(\x1b\[[0-9;]*m)", text):
        style = re.fullmatch(r"\x1b\[([0-9;]*)m", piece)
        if style is None:
            parts.append(html.escape(piece))
        elif style[1] in ("", "0"):
            parts.append("</span>")
        else:
            parts.append(f'<span class="{" ".join(STYLES[code] for code in style[1].split(";"))}">')
    return "".join(parts)


def main() -> int:
    picture, *command = sys.argv[1:]
    page = PAGE.format(command=html.escape(" ".join(command)), screen=to_html(visible(run(command))))
    with tempfile.TemporaryDirectory() as profile, headless_chromium(Path(profile)) as browser:
        browser.set_window_size(1400, 900)
        browser.get("data:text/html;charset=utf-8," + quote(page))
        Path(picture).write_bytes(browser.find_element("id", "screen").screenshot_as_png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
