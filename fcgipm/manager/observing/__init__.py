"""Seeing: who waits and what is served, by the kernel and by reports, when the engine wants to know."""
