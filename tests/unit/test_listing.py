"""Which parts of Replicate's list are read, and what the rows of the list prove."""

from __future__ import annotations

import pytest

from tests.support.jobs import START as NOW
from tests.support.jobs import at
from triptych.replicate import listing
from triptych.replicate.listing import Listed
from triptych.replicate.predictions import CREATE_SECONDS, Prediction
from triptych.replicate.tags import Tag

pytestmark = pytest.mark.usefixtures("configured")
TAG = Tag("0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", 0, 1)
TWIN = TAG._replace(image=1)


def row(name: str, seconds: float | None = 0, *tags: Tag) -> Prediction:
    """Return a prediction that was created so many seconds after NOW."""
    urls = [f"https://s3/p?response-content-disposition=filename%3D%22{tag.file_name}%22" for tag in tags]
    created = None if seconds is None else at(seconds).isoformat()
    return Prediction.model_validate(
        {"id": name, "status": "processing", "created_at": created, "input": {"images": urls}}
    )


def test_window_is_around_all_of_its_requests() -> None:
    """Replicate's clock may be a minute off, and a POST creates nothing after a minute and a half."""
    window = listing._Window.around([at(0), at(7), at(20)], at(600))
    parts = (window.start, window.likely_start, window.likely_end, window.end)
    assert parts == (at(-60), at(-5), at(35), at(20 + 90 + 60))


def test_window_ends_soon_after_now() -> None:
    window = listing._Window.around([at(0)], at(30))
    assert (window.likely_end, window.end) == (at(15), at(30 + 60))
    early = listing._Window.around([at(0)], at(-50))  # the clock of the POST was ahead
    assert early.likely_end == early.end == at(10)


def test_requests_whose_windows_touch_are_read_together() -> None:
    times = [at(1000), at(0), at(210), at(1010), at(420)]
    assert listing._near(times) == [times[1:2] + times[2:3] + times[4:], [times[0], times[3]]]
    assert listing._near([at(0), at(210.001)]) == [[at(0)], [at(210.001)]]


def test_slices_cover_a_time_without_a_gap() -> None:
    assert list(listing._slices(at(0), at(70))) == [
        (at(0), at(30)),
        (at(30), at(60)),
        (at(60), at(70)),
    ]
    assert not list(listing._slices(at(0), at(0)))


def test_row_counts_for_the_one_image_that_it_names() -> None:
    rows = [
        row("later", 2, TAG),
        row("both", 1, TAG, TWIN),
        row("first", 0, TAG),
        row("other", 0, TWIN),
        row("none"),
    ]
    listed = Listed(rows)
    assert listed.of(TAG) == ["first", "later"]
    assert listed.tagged_ids == {"later", "both", "first", "other"}


def test_later_prediction_shows_that_the_list_does_not_lag() -> None:
    """Later than the POST can have taken, by any clock."""
    latest = CREATE_SECONDS + 60
    for seconds, shows in ((latest, True), (latest - 0.001, False), (None, False)):
        assert Listed([row("a", -5), row("b", seconds)]).covers(NOW) is shows
    assert not Listed([row("a", latest)], steady=False).covers(NOW)
    assert not Listed([row("a", latest)], before=[]).covers(NOW)  # read after a gap
    assert Listed([], before=[row("a", latest)]).covers(NOW)


def test_rows_are_joined_once_each_and_the_newest_first() -> None:
    joined = listing._joined([row("b", 2), row("a", 1)], [row("c", 3), row("b", 2), row("undated", None)])
    assert [one.id for one in joined] == ["c", "b", "a", "undated"]


def test_first_page_is_enough_if_it_holds_the_twins() -> None:
    """One POST can create two predictions, up to five seconds apart."""
    found = [row("b", 100, TWIN), row("a", 50, TAG)]
    assert listing._has_all([*found, row("older", 45)], {TAG, TWIN})
    assert not listing._has_all([*found, row("older", 45.001)], {TAG, TWIN})
    assert not listing._has_all([row("a", 50, TAG), row("older", 0)], {TAG, TWIN})
    assert not listing._has_all([row("a", None, TAG), row("older", 0)], {TAG})
    assert not listing._has_all([row("a", 50, TAG, TWIN), row("older", 0)], {TAG})
