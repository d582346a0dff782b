"""Signing keys: sealed at rest, rotated without a lost request, and revoked at once."""
