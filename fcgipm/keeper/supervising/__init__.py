"""The manager's process, and what it may order."""
