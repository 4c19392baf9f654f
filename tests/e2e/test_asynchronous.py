"""Asynchronous invocation with boto3 and real peers: every event ends where AWS would end it."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambent.testing.process import LambentProcess

from . import aws, peers
from .conftest import state_dir_like

ACCOUNT, REGION = "000000000000", "us-east-1"
SOURCE = """
def handler(event, context):
    print("got", context.aws_request_id)
    if event.get("fail"):
        raise ValueError("on purpose")
    return event
"""


@pytest.fixture(scope="module")
def moto(from_pypi):
    with peers.moto(from_pypi(*peers.MOTO)) as url:
        yield url


@pytest.fixture(scope="module")
def lambent(moto, state_dir):
    with LambentProcess(state_dir, settings={"endpoints": {"*": moto}}) as started:
        yield started


@pytest.fixture(scope="module")
def client(lambent):
    return aws.client("lambda", lambent.endpoint)


@pytest.fixture(scope="module")
def other_state_dir(server):
    with state_dir_like(server) as folder:
        yield folder


@pytest.fixture
def service(moto):
    """Clients of the peer, in the account of the functions."""
    return lambda name: client_of_moto(name, moto)


def client_of_moto(name, url):
    """Return a client; moto tells accounts by a header, as it has no access keys of its own here."""
    made = aws.client(name, url)
    made.meta.events.register(
        "before-sign", lambda request, **_: request.headers.add_header("x-moto-account-id", ACCOUNT)
    )
    return made


def arn(service, name):
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def until(find, seconds=30.0):
    """Return the first true answer of ``find``."""
    give_up_at = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.05)
    return found


def receive(queues, name, **options):
    url = queues.get_queue_url(QueueName=name)["QueueUrl"]
    return queues.receive_message(QueueUrl=url, **options).get("Messages", [])


def invoke(client, name, payload):
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(payload))
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["RequestId"]


def configure(client, name, **members):
    client.put_function_event_invoke_config(FunctionName=name, **members)


def test_a_queue_gets_the_record_of_a_success_and_of_a_failure(client, service):
    queues, name = service("sqs"), aws.create(client, SOURCE)
    queues.create_queue(QueueName="records")
    to = {"Destination": arn("sqs", "records")}
    configure(client, name, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": to, "OnFailure": to})
    for payload, condition in (({"a": 1}, "Success"), ({"fail": True}, "RetriesExhausted")):
        request_id = invoke(client, name, payload)
        (message,) = until(lambda: receive(queues, "records"))
        record = json.loads(message["Body"])
        assert record["requestContext"]["requestId"] == request_id
        assert (record["requestContext"]["condition"], record["requestPayload"]) == (condition, payload)
        queues.delete_message(
            QueueUrl=queues.get_queue_url(QueueName="records")["QueueUrl"], ReceiptHandle=message["ReceiptHandle"]
        )
    assert record["responsePayload"]["errorMessage"] == "on purpose"


def test_a_dead_letter_queue_gets_the_event_with_the_attributes_of_aws(client, service):
    queues = service("sqs")
    queues.create_queue(QueueName="letters")
    name = aws.create(client, SOURCE, DeadLetterConfig={"TargetArn": arn("sqs", "letters")})
    configure(client, name, MaximumRetryAttempts=0)
    request_id = invoke(client, name, {"fail": 1})
    (message,) = until(lambda: receive(queues, "letters", MessageAttributeNames=["All"]))
    attributes = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert attributes == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "on purpose"}
    assert json.loads(message["Body"]) == {"fail": 1}


def test_topics_and_buses_pass_records_on(client, service):
    queues, topics, buses = service("sqs"), service("sns"), service("events")
    queues.create_queue(QueueName="behind")
    topic = topics.create_topic(Name="topic")["TopicArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn("sqs", "behind"))
    bus = buses.create_event_bus(Name="bus")["EventBusArn"]
    buses.put_rule(Name="all", EventBusName="bus", EventPattern='{"source": ["lambda"]}')
    buses.put_targets(Rule="all", EventBusName="bus", Targets=[{"Id": "1", "Arn": arn("sqs", "behind")}])
    name = aws.create(client, SOURCE)
    configure(
        client, name, MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": topic}, "OnFailure": {"Destination": bus}},
    )  # fmt: skip
    request_id = invoke(client, name, {})
    (message,) = until(lambda: receive(queues, "behind", VisibilityTimeout=600))
    assert json.loads(json.loads(message["Body"])["Message"])["requestContext"]["requestId"] == request_id
    request_id = invoke(client, name, {"fail": 1})
    (message,) = until(lambda: receive(queues, "behind", VisibilityTimeout=600))
    event = json.loads(message["Body"])
    assert event["detail-type"] == "Lambda Function Invocation Result - Failure"
    assert event["detail"]["requestContext"]["requestId"] == request_id


def test_a_bucket_gets_records_of_failures_and_a_function_those_of_successes(client, service):
    objects = service("s3")
    objects.create_bucket(Bucket="failures")
    name, other = aws.create(client, SOURCE), aws.create(client, SOURCE)
    objects.create_bucket(Bucket="others")
    configure(
        client, name, MaximumRetryAttempts=0,
        DestinationConfig={
            "OnSuccess": {"Destination": arn("lambda", f"function:{other}")},
            "OnFailure": {"Destination": "arn:aws:s3:::failures"},
        },
    )  # fmt: skip
    request_id = invoke(client, name, {"fail": 1})
    (found,) = until(lambda: objects.list_objects_v2(Bucket="failures").get("Contents"))
    assert found["Key"].startswith(f"aws/lambda/async/{name}/")
    record = json.loads(objects.get_object(Bucket="failures", Key=found["Key"])["Body"].read())
    assert record["requestContext"]["requestId"] == request_id
    queues = service("sqs")
    queues.create_queue(QueueName="chain")
    configure(client, other, DestinationConfig={"OnSuccess": {"Destination": arn("sqs", "chain")}})
    request_id = invoke(client, name, {"n": 1})
    (message,) = until(lambda: receive(queues, "chain"))
    assert json.loads(message["Body"])["requestPayload"]["requestContext"]["requestId"] == request_id


def test_another_queue_server_takes_records_as_well(from_maven, other_state_dir):
    with peers.elasticmq(from_maven) as url:
        queues = aws.client("sqs", url)
        queues.create_queue(QueueName="records")
        with LambentProcess(other_state_dir, settings={"endpoints": {"sqs": url}}) as started:
            own = aws.client("lambda", started.endpoint)
            name = aws.create(own, SOURCE)
            to = {"Destination": arn("sqs", "records")}
            configure(own, name, DestinationConfig={"OnSuccess": to})
            with ThreadPoolExecutor(8) as threads:
                accepted = set(threads.map(lambda n: invoke(own, name, {"n": n}), range(50)))
            seen = set()
            while seen != accepted:
                for message in until(lambda: receive(queues, "records", MaxNumberOfMessages=10, VisibilityTimeout=600)):
                    seen.add(json.loads(message["Body"])["requestContext"]["requestId"])
            with pytest.raises(own.exceptions.InvalidParameterValueException, match="cannot be reached"):
                configure(own, name, DestinationConfig={"OnFailure": {"Destination": arn("sns", "t")}})


def test_the_command_shows_drops_and_redrives_what_is_queued(lambent, client):
    name = aws.create(client, SOURCE)
    invoke(client, name, {"fail": 1})

    def run(*arguments):
        command = ["lambent", "queue", *arguments]
        done = subprocess.run(command, env=aws.environ(lambent.endpoint), capture_output=True, text=True, check=True)
        return done.stdout

    until(lambda: any(row["function"] == name and row["delayed"] for row in json.loads(run("--json"))))
    assert "the time of its next try" in run()
    assert run("redrive", name) == "1 to be tried now\n"
    until(lambda: any(row["function"] == name and row["delayed"] for row in json.loads(run("--json"))))
    assert run("purge", name) == "1 dropped\n"
    assert name not in run()
