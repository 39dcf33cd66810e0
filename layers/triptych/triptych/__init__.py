"""What the functions share, in rooms. The rules stand here at the top: pure, without I/O and without a clock.

Rooms import downwards only: flows, replicate, aws, photo, runtime, rules. `tests/repository/test_rooms.py` holds that.
"""
