"""Listening sockets: where they are, whose they are, published and watched."""
