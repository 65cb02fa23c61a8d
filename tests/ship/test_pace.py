"""What a service may ask of its server, and when it leaves it alone."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from mlflow.exceptions import MlflowException, RestException

from hpkb.ship.pace import Pace, paced
from hpkb.ship.store import _in_trouble


def test_no_more_turns_than_the_rate_and_what_may_come_at_once() -> None:
    pace, began = Pace(rate=100.0, at_once=5.0), time.monotonic()
    for _ in range(5):
        pace.take_turn()
    for _ in range(30):
        pace.take_turn()
    assert time.monotonic() - began >= 0.29


def test_a_rest_gives_back_what_may_come_at_once_and_no_more() -> None:
    pace = Pace(rate=1000.0, at_once=3.0)
    for _ in range(3):
        pace.take_turn()
    time.sleep(0.1)
    began = time.monotonic()
    for _ in range(53):
        pace.take_turn()
    assert time.monotonic() - began >= 0.049


def test_shipments_are_rarer_the_more_jobs_there_are_and_the_slower_the_server_is() -> None:
    pace = Pace()
    assert pace.period(1, 0.5) == 0.5
    assert pace.period(200, 0.5) == 20.0
    for _ in range(100):
        pace.took(0.3)
    assert pace.period(1, 0.5) == pytest.approx(3.0, rel=1e-3)


def test_a_server_in_trouble_is_left_alone_twice_as_long_each_time_until_it_is_well() -> None:
    pace = Pace()
    assert not pace.resting
    pauses = []
    for _ in range(12):
        pace.trouble()
        pauses.append(pace._not_before - time.monotonic())
    assert 0.3 < pauses[0] < 0.7
    assert all(later > 1.1 * earlier for earlier, later in pairwise(pauses[:4]))
    assert 20 < pauses[-1] < 40
    assert pace.resting
    pace.well()
    assert not pace.resting


class Client:
    def double(self, number: int, *, again: bool = False) -> int:
        if number < 0:
            raise ValueError(number)
        time.sleep(0.02)
        return number * (4 if again else 2)


def test_a_paced_client_is_the_client_and_its_calls_are_timed() -> None:
    pace = Pace()
    client = paced(Client(), pace)
    assert (client.double(2), client.double(2, again=True)) == (4, 8)
    with pytest.raises(ValueError, match="-1"):
        client.double(-1)
    assert pace.latency > 0.003


@pytest.mark.parametrize(("error", "trouble"), [
    (ConnectionError("refused"), True),
    (MlflowException("API request failed with timeout exception"), True),
    (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slowly"}), True),
    (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}), True),
    (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}), False),
    (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no such name"}), False),
    (ValueError("of one run"), False),
])  # fmt: skip
def test_what_is_trouble_for_every_run(error: Exception, trouble: bool) -> None:
    assert _in_trouble(error) is trouble
