"""What is kept to be told: output and log lines, events, counters and their families."""
