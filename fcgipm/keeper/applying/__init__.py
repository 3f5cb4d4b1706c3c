"""The configuration read again: what differs, and how it is changed while everything runs."""
