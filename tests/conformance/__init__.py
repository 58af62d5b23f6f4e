"""The Autobahn test suite against the server and the clients: `make conformance`."""
