"""The load generator: what it detects, what it can do, and how it ends."""
