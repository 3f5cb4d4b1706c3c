"""fcgipm: a process manager for FastCGI applications, beside any web server."""

__version__ = "0.1.0"
