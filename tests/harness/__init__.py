"""What the tests share: waiting, components of the system, places for files, and the daemon as a process."""
