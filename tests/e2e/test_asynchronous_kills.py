"""A 202 is a promise, kept by the whole product: kills at random moments under asynchronous load lose no event."""

import json
import os
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lambent.testing.process import LambentProcess

from . import aws, peers
from .conftest import state_dir_like
from .test_asynchronous import SOURCE, arn, client_of_moto, configure, invoke

ROUNDS = 100 if os.environ.get("LAMBENT_ROUNDS") == "full" else 6
pytestmark = pytest.mark.timeout(60 + ROUNDS * 30)


@pytest.fixture
def own_state_dir(server):
    with state_dir_like(server) as folder:
        yield folder


@pytest.fixture(scope="module")
def moto(from_pypi):
    with peers.moto(from_pypi(*peers.MOTO)) as url:
        yield url


class Told:
    """What the queue of records was told, by request id."""

    def __init__(self, url):
        self._queues = client_of_moto("sqs", url)
        self._url = self._queues.create_queue(QueueName="ends")["QueueUrl"]
        self.conditions: dict[str, list[str]] = {}

    def read(self):
        found = self._queues.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            context = json.loads(message["Body"])["requestContext"]
            self.conditions.setdefault(context["requestId"], []).append(context["condition"])
            self._queues.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return bool(found)


def load(endpoint, name, accepted, stop):
    client = aws.client("lambda", endpoint, read_timeout=5)
    while not stop.is_set():
        try:
            accepted.append(invoke(client, name, {"fail": random.random() < 0.3}))
        except (BotoCoreError, ClientError, HTTPClientError, AssertionError):
            if stop.wait(0.05):
                return


def one_round(state_dir, settings, name, accepted):
    stop = threading.Event()
    server = LambentProcess(state_dir, settings=settings)
    server.start()
    try:
        threads = [threading.Thread(target=load, args=(server.endpoint, name, accepted, stop)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.05, 1.5))  # the moment is what is random
    finally:
        server.kill()
        stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.rounds
def test_every_event_that_was_accepted_ends_by_its_id_whenever_everything_is_killed(own_state_dir, moto):
    random.seed(8)
    settings = {"endpoints": {"sqs": moto}}
    told, accepted = Told(moto), []
    with LambentProcess(own_state_dir, settings=settings) as first:
        client = aws.client("lambda", first.endpoint)
        name = aws.create(client, SOURCE)
        to = {"Destination": arn("sqs", "ends")}
        configure(client, name, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": to, "OnFailure": to})
    for _ in range(ROUNDS):
        one_round(own_state_dir, settings, name, accepted)
    assert len(accepted) > 10 * ROUNDS
    with LambentProcess(own_state_dir, settings=settings):
        give_up_at = time.monotonic() + 150  # a minute until what a kill found in hand comes again, and some work
        while (missing := {*accepted} - told.conditions.keys()) and time.monotonic() < give_up_at:
            told.read() or time.sleep(0.05)
        assert not missing, f"{len(missing)} of {len(accepted)}"
    assert {condition for each in told.conditions.values() for condition in each} == {"Success", "RetriesExhausted"}
    # More than once only what a kill found in hand: one event of each environment and round at most.
    twice = [request_id for request_id, conditions in told.conditions.items() if len(conditions) > 1]
    assert len(twice) <= ROUNDS * 20
