"""What an order may spend."""

from __future__ import annotations

from datetime import date

import pytest

from triptych.spending import Limits, Order, OrderedTooOftenError, Spent, refuse

DAY = date(2026, 11, 29)


def test_owner_may_order_exactly_ten_times_the_daily_limit() -> None:
    order = Order(owner="ann", entry="e", day=DAY, pictures=3, limits=Limits(pictures_of_owner=5))
    refuse(order, Spent(ordered={DAY.isoformat(): 47}), Spent())
    with pytest.raises(OrderedTooOftenError):
        refuse(order, Spent(ordered={DAY.isoformat(): 48}), Spent())
