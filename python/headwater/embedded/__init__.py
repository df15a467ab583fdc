"""The embedded engine as a backend: what `local:` and `memory:` have in common."""
