"""What the page must know of failures. Its words for them are in `static/en.json` and `static/ko.json`.

The words are for users; the API's messages are for client developers. A failure without words there is shown with the
API's message. `tests/unit/test_failures.py` compares all of these with the API's table, which this function does not
carry.
"""

# A retry would use the same photo again, so the page offers none.
NOT_RETRYABLE = (
    "attempts_used",
    "photo_animated",
    "photo_empty",
    "photo_too_complex",
    "photo_too_large",
    "photo_too_many_pixels",
    "photo_type_mismatch",
    "photo_unopenable",
    "photo_unreadable",
    "photo_unsupported",
    "upload_expired",
)
NOT_FOUND = ("route_not_found", "This route does not exist. Check the path.")
