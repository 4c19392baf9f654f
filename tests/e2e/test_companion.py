"""One endpoint for everything: other services come from the companion, and outlive its death and ours."""

import json
import os
import signal
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambent.testing.process import LambentProcess

from . import aws
from .conftest import state_dir_like
from .test_asynchronous import SOURCE, arn, configure, invoke, receive, until

pytestmark = pytest.mark.timeout(300)  # the first one installs the companion
OTHER = """
import boto3

def other(event, context):
    return boto3.client("sqs").list_queues()["QueueUrls"]
"""


@pytest.fixture(scope="module")
def settings(companion_python):
    return {"companion_python": companion_python}


@pytest.fixture
def other_state_dir(server):
    with state_dir_like(server) as folder:
        yield folder


@pytest.fixture(scope="module")
def lambent(state_dir, settings):
    with LambentProcess(state_dir, settings=settings) as started:
        yield started


def companions(lambent):
    return [pid for pid, command in lambent.processes() if "companion_process" in command]


def test_the_companion_starts_at_the_first_use_and_dies_with_the_server(other_state_dir, settings):
    with LambentProcess(other_state_dir, settings=settings) as started:
        assert companions(started) == []
        aws.client("sqs", started.endpoint).create_queue(QueueName="first")
        (pid,) = companions(started)
        started.kill()
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_other_services_answer_at_the_one_endpoint(lambent):
    objects, queues = aws.client("s3", lambent.endpoint), aws.client("sqs", lambent.endpoint)
    objects.create_bucket(Bucket="bucket")
    objects.put_object(Bucket="bucket", Key="a/b c", Body=b"hello")
    assert objects.get_object(Bucket="bucket", Key="a/b c")["Body"].read() == b"hello"
    assert objects.head_object(Bucket="bucket", Key="a/b c")["ContentLength"] == 5
    url = objects.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a/b c"})
    assert urllib.request.urlopen(url).read() == b"hello"
    with pytest.raises(objects.exceptions.NoSuchKey):
        objects.get_object(Bucket="bucket", Key="none")
    address = queues.create_queue(QueueName="q")["QueueUrl"]
    assert address.startswith(lambent.endpoint)
    queues.send_message(QueueUrl=address, MessageBody="x")
    assert receive(queues, "q")[0]["Body"] == "x"


@pytest.mark.parametrize("path", ["/moto-api/reset", "/moto%2Dapi/reset", "/moto-api/recorder/download-recording"])
def test_nobody_clears_the_companion_or_reads_what_others_asked(lambent, path):
    objects = aws.client("s3", lambent.endpoint)
    objects.create_bucket(Bucket="stays")
    scope = "AKID/20260101/us-east-1/s3/aws4_request"
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    request = urllib.request.Request(lambent.endpoint + path, data=b"", headers=signed)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.code == 404
    objects.head_bucket(Bucket="stays")


def test_a_large_object_passes_through_in_both_directions(lambent, tmp_path):
    objects = aws.client("s3", lambent.endpoint)
    objects.create_bucket(Bucket="large")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1024 * 1024) * 40)
    objects.upload_file(str(source), "large", "parts")
    objects.put_object(Bucket="large", Key="whole", Body=source.read_bytes())
    for key in ("parts", "whole"):
        objects.download_file("large", key, str(target))
        assert target.read_bytes() == source.read_bytes()


def test_records_of_events_go_to_the_companion_and_functions_reach_it(lambent):
    client, queues = aws.client("lambda", lambent.endpoint), aws.client("sqs", lambent.endpoint)
    queues.create_queue(QueueName="records")
    source = (
        SOURCE + "import boto3\ndef other(event, context):\n    return boto3.client('sqs').list_queues()['QueueUrls']\n"
    )
    name = aws.create(client, source)
    configure(client, name, DestinationConfig={"OnSuccess": {"Destination": arn("sqs", "records")}})
    request_id = invoke(client, name, {})
    (message,) = until(lambda: receive(queues, "records"))
    assert json.loads(message["Body"])["requestContext"]["requestId"] == request_id
    client.update_function_configuration(FunctionName=name, Handler="app.other", Timeout=30, MemorySize=256)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    answer = client.invoke(FunctionName=name)
    assert any(url.endswith("/records") for url in json.loads(answer["Payload"].read()))


def test_what_was_acknowledged_is_there_after_the_companion_was_killed(lambent):
    objects, queues = aws.client("s3", lambent.endpoint), aws.client("sqs", lambent.endpoint)
    objects.create_bucket(Bucket="kept")
    address = queues.create_queue(QueueName="kept")["QueueUrl"]

    def keep(n):
        objects.put_object(Bucket="kept", Key=str(n), Body=str(n).encode())
        queues.send_message(QueueUrl=address, MessageBody=str(n))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(keep, range(20)))
    (pid,) = companions(lambent)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    for n in range(20):
        assert objects.get_object(Bucket="kept", Key=str(n))["Body"].read() == str(n).encode()
    seen = set()
    while len(seen) < 20:
        seen |= {each["Body"] for each in until(lambda: receive(queues, "kept", MaxNumberOfMessages=10))}


def test_what_was_acknowledged_is_there_after_everything_was_killed(other_state_dir, settings):
    first = LambentProcess(other_state_dir, settings=settings)
    first.start()
    objects = aws.client("s3", first.endpoint)
    objects.create_bucket(Bucket="everything")
    objects.put_object(Bucket="everything", Key="k", Body=b"v")
    first.kill()
    with LambentProcess(other_state_dir, settings=settings) as again:
        objects = aws.client("s3", again.endpoint)
        assert objects.get_object(Bucket="everything", Key="k")["Body"].read() == b"v"


def test_without_the_companion_other_services_are_refused_in_words(functions, server):
    with pytest.raises(functions.exceptions.ClientError) as refused:
        aws.client("sqs", server.endpoint).list_queues()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
