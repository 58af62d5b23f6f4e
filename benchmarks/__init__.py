"""``python -m benchmarks``: each module opens with the question it answers and what would make it lie."""
