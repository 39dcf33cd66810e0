"""The ids of jobs."""

from __future__ import annotations

import uuid

from triptych import job_ids


def test_id_of_an_idempotency_key_is_a_valid_uuid() -> None:
    made = [job_ids.keyed("photos", "alice", str(number)) for number in range(100)]
    assert {uuid.UUID(job_id).version for job_id in made} == {8}
    assert all(job_ids.is_keyed(job_id) for job_id in made)
    assert len(set(made)) == 100


def test_stacks_owners_and_keys_have_ids_of_their_own() -> None:
    """Two stacks may know the same owner, and read the same list of predictions at Replicate."""
    parts = [
        ("photos", "ann", "key"),
        ("others", "ann", "key"),
        ("photos", "annk", "ey"),
        ("photos", "ann", "k"),
    ]
    assert len({job_ids.keyed(*one) for one in parts}) == len(parts)
