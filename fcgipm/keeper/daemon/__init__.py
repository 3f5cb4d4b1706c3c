"""The daemon as one process: its directory and its log, signals, systemd, how its start goes, and its end."""
