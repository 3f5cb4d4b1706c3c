"""What connectors ask for: an instance that is ready, of an application that is known or of a script below a root."""
