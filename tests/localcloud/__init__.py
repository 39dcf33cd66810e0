"""The local cloud: the whole system on one machine, built from template.yaml (`python3 -m tests.localcloud`)."""
