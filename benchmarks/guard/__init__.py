"""``make bench-guard``: counts instructions of the engine's core operations and compares them with a baseline."""
