"""``python -m pubsub`` is ``fastpubsub``."""

from pubsub.cli import main

if __name__ == "__main__":
    main()
