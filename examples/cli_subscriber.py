"""Print the messages of a topic, without asyncio.

    python cli_subscriber.py [URL] [--name NAME]

Without a URL, PUBSUB_ADDR says where the server is, then ws://127.0.0.1:8080/.
"""

import argparse
import sys

from pubsub import ConnectionClosed
from pubsub.sync import Subscriber


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the messages of a topic.")
    parser.add_argument("url", nargs="?", help="such as ws://127.0.0.1:8080/lines, or /lines")
    parser.add_argument("--name", default="", help="what the server's events call this client")
    arguments = parser.parse_args()
    try:
        with Subscriber(arguments.url, name=arguments.name, text=True) as subscriber:
            print("subscribed", file=sys.stderr, flush=True)
            for message in subscriber:
                print(message if isinstance(message, str) else message.decode(errors="replace"), flush=True)
    except ConnectionClosed as closed:
        sys.exit(f"the server closed the connection: {closed.code} {closed.reason}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
