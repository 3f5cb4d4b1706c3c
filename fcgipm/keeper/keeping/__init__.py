"""What outlives the keeper: its state in a file, and how another keeper takes up what it has left."""
