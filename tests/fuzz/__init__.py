"""Fuzzing of what strangers can send, guided by coverage: photos, API requests, webhook calls and messages."""
