"""Publish the lines of standard input, without asyncio.

    echo "hello" | python cli_publisher.py [URL] [--name NAME]

Without a URL, PUBSUB_ADDR says where the server is, then ws://127.0.0.1:8080/.
"""

import argparse
import sys

from pubsub.sync import Publisher


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish the lines of standard input.")
    parser.add_argument("url", nargs="?", help="such as ws://127.0.0.1:8080/lines, or /lines")
    parser.add_argument("--name", default="", help="what the server's events call this client")
    arguments = parser.parse_args()
    with Publisher(arguments.url, name=arguments.name) as publisher:
        for line in sys.stdin:
            publisher.publish(line.removesuffix("\n"))
        publisher.flush()  # now the server has all of it


if __name__ == "__main__":
    main()
