from collections.abc import Iterator

import pytest

from tests.simulator.running import Receiver, Simulator, receiving


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    simulator = Simulator()
    yield simulator
    assert simulator.stop() == 0


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """A simulator that remembers nothing of the test before, with one number that has no webhook."""
    shared_simulator.control("POST", "reset", {"numbers": True, "behaviour": True})
    shared_simulator.register()
    return shared_simulator


@pytest.fixture
def receiver(simulator: Simulator) -> Iterator[Receiver]:
    """A receiver that the number's webhooks go to; no webhook may have a wrong signature."""
    with receiving() as running:
        simulator.register(webhook_url=running.url)
        yield running
        simulator.control("POST", "reset")
        assert running.wrong_signatures == 0
