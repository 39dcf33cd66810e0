"""A second opinion on IAM: an independent simulator judges what the local cloud's IAM decided."""
