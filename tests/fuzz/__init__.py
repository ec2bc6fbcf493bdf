"""Hostile inputs: whatever a user gives, a command takes it or refuses it in one line."""
