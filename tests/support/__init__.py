"""What tests say often: peers to talk to, requests to send, bytes to cut. One subject a file."""
