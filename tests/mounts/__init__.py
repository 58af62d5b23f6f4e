"""The hub in web applications."""
