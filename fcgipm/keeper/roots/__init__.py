"""Scripts below the roots of [dynamic]: which may run, and what becomes of those that are known."""
