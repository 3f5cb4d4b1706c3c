"""Answering on the control socket and the metrics socket."""
