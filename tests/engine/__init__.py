"""The engine through its Python face, on real sockets."""
